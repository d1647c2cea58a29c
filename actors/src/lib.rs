//! One node: the supervision tree that runs the pure cache on real devices and clocks.
