//! What every device must do, run over each of them.
