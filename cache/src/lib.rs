//! The pure cache: keys, index, prefix forest, policies, arenas, leases. No I/O, no clock, no threads.
