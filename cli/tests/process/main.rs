//! The real process: killed and started again, its folder and its traces looked at, its command
//! line read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

mod backtests;
mod exits;
mod folder;
mod kit;
mod logged;
mod manual;
mod mcp;
mod packs;
mod plans;
mod prefixes;
mod profiles;
mod replays;
mod seen;
mod signing_keys;
mod stopping;
mod tampering;
mod walk;
