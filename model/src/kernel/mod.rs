//! The arithmetic where the order of additions matters, each kernel with one order for every shape.
//!
//! Responsible for: products with packed weights ([`matrix`]), attention over blocks ([`attention`]),
//! the gate of the MLP ([`gate`]), and the elementary functions they share ([`math`]). Must never know
//! about layers, tokens' meaning, or which rows came from a cache.
//!
//! The law of this module: the value of an output is a function of its own inputs only. It may not
//! depend on how many rows are computed together, how rows or columns are divided among threads, or
//! which vector instructions the machine has. So every sum is either *sequential* (one accumulator per
//! output, inputs in index order, fused multiply-add) or *sixteen-laned* (input `i` goes to lane
//! `i % 16`, lanes are added as a fixed tree). `f32::mul_add` is correctly rounded everywhere, with or
//! without the instruction, so the law holds across machines too.

pub(crate) mod attention;
pub(crate) mod gate;
pub(crate) mod isa;
pub(crate) mod math;
pub(crate) mod matrix;

pub(crate) use attention::{HeadBlocks, Query, attend};
pub(crate) use gate::gate;
pub(crate) use matrix::PackedMatrix;
