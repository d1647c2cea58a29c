//! Tests of supervisors with actors that die on command.
