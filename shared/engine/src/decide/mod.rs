//! What callers and people decide on an execution: approve, reject, start, cancel, steer, resolve.

pub(crate) mod approve;
mod break_glass;
pub(crate) mod control;
mod edit;
pub(crate) mod links;
pub(crate) mod presses;
pub(crate) mod second_factor;
pub(crate) mod update;
