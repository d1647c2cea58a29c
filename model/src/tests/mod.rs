//! The crate's promises, tested through its public door only.

mod exactness;
mod generation;
mod loading;
mod transformers;
