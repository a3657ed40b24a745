//! Seeded simulation: the real core and engine on the in-memory table, under a scheduler that
//! decides from one seed who runs next, who dies, which commit fails or is in doubt, and what the
//! tools do. Then every invariant of the design is checked by its name.

mod amounts;
mod check;
mod exec;
mod invariants;
mod operators;
mod people;
mod plans;
mod ports;
mod run;
mod tools;
mod watch;

pub use exec::Shared;
pub use invariants::{INVARIANTS, STORMS};
pub use ports::{SimClock, SimIds, Store};
pub use run::{Outcome, run, run_on};
