//! The generating doors over real sockets: a whole tree, a tiny reference model, a client that can
//! leave.

mod entries;
mod openai;
mod process;
mod rig;
