//! Replicas against an oracle: what happens to each other under any order of events. It must never know sockets.

mod bench;
mod chance;
mod planted;
mod story;
