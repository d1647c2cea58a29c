//! Settings: YAML, environment and flags, parsed into types that cannot be wrong.
