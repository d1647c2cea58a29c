//! The version of a slot's record. It must never know what lies in a slot.

use serde::{Deserialize, Serialize};

/// A version of one slot's ownership; grows when the slot changes hands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);
