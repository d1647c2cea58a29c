//! Responsible for the names of the two forms in which figures are printed. It must never know a figure.

use clap::ValueEnum;

/// For whom figures are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// For programs: one object.
    Json,
}
