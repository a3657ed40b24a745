//! Verdicts. Cedar policies over a floor that no policy can loosen.
//!
//! **Architecture invariant:** pure. A verdict is a function of plan, facts and policy set, and the stored facts are
//! all that is needed to reach it again (INVARIANT replayable).
//!
//! INVARIANT (fail-closed): an empty set, an erroring rule, an unknown action or a default deny is `blocked`.

mod authority;
mod backtest;
mod judge;
mod place;
mod request;
mod schema;
mod signals;
mod templates;

pub use authority::{Authority, Faulty};
pub use backtest::{Past, changes, probe};
pub use judge::{Facts, Measured, Metered, PlanVerdict, StepVerdict, judge, judge_call, judge_calls};
pub use schema::{cedar_schema, validate};
pub use signals::{Signal, Signals};
pub use templates::{BASELINE, TEMPLATES};
