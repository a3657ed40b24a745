//! What every host has, on one machine or on AWS: the clock, randomness, and tools over HTTP under the outbound rules.

pub mod mcp;
mod system;
mod tools;

pub use system::{SystemClock, SystemIds};
pub use tools::HttpTools;
