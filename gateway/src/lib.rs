//! The doors: HTTP, the OpenAI API, blocks and admin, and the process path behind them.
