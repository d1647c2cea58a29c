//! Runs seeds of the simulator and tells what they exercised.

fn main() {}
