//! Side doors: each sample on which an earlier version did wrong, and its siblings, attacked over
//! HTTP. A file a territory; a test a sample, named after it.

mod authority;
mod bounds;
mod gate;
mod liveness;
mod log;
mod policy;
mod switches;
mod values;
mod view;
