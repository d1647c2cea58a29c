//! Strangers in the making: how many connections may be half made, in all and from one address.
//!
//! It must never know what is half made. One machine may not take every place, unless its addresses can be made up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Part of all places that one address may take.
const SHARE: usize = 4;

/// Counts connections in the making.
#[derive(Debug)]
pub(super) struct Gate {
    max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    proven: BTreeMap<IpAddr, usize>,
}

/// A place at the gate, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    proven: Option<IpAddr>,
}

impl Gate {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            inside: Mutex::default(),
        })
    }

    /// A place, or none when there is no room. An address that may be made up counts in all only, up to half.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr, is_proven: bool) -> Option<Pass> {
        let mut inside = self.inside.lock();
        let max = if is_proven { self.max } else { self.max / 2 };
        if inside.all >= max {
            return None;
        }
        if is_proven {
            let of_address = inside.proven.entry(from).or_default();
            if *of_address >= (self.max / SHARE).max(1) {
                return None;
            }
            *of_address += 1;
        }
        inside.all += 1;
        drop(inside);
        Some(Pass {
            gate: Arc::clone(self),
            proven: is_proven.then_some(from),
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock();
        inside.all -= 1;
        let Some(from) = self.proven else { return };
        if let Some(of_address) = inside.proven.get_mut(&from) {
            *of_address -= 1;
            if *of_address == 0 {
                inside.proven.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_addresses_take_half_and_one_machine_a_quarter() {
        let gate = Gate::new(8);
        let address = |last: u8| IpAddr::from([127, 0, 0, last]);
        let unproven: Vec<_> = (0..9)
            .filter_map(|n| gate.enter(address(n), false))
            .collect();
        assert_eq!(unproven.len(), 4);
        let one: Vec<_> = (0..9)
            .filter_map(|_| gate.enter(address(1), true))
            .collect();
        assert_eq!(one.len(), 2);
        let two: Vec<_> = (0..9)
            .filter_map(|_| gate.enter(address(2), true))
            .collect();
        assert_eq!(two.len(), 2);
        assert!(gate.enter(address(3), true).is_none(), "full");
        drop((unproven, one));
        assert!(gate.enter(address(2), true).is_none(), "it has its share");
        drop(two);
        assert_eq!(gate.inside.lock().all, 0);
        assert!(gate.inside.lock().proven.is_empty());
    }
}
