//! Tests of a whole node: load, chaos, budgets.
