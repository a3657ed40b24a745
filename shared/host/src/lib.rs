//! The clock and the randomness of the machine, one machine's or Lambda's.

mod system;

pub use system::{SystemClock, SystemIds};
