//! The lanes over real sockets: what they carry, what they bound, and whom they refuse while good peers go on.

mod bulk;
mod hostile;
mod house;
mod mesh;
mod quic;
mod strangers;
