//! Tests of the whole house over real processes, and the rules of the house itself.
