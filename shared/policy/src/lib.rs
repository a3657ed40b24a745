//! Verdicts. Cedar policies over a floor that no policy can loosen.
//!
//! **Architecture invariant:** pure. A verdict is a function of plan, facts and policy set, and the stored facts are
//! all that is needed to reach it again (INVARIANT replayable).
//!
//! INVARIANT (fail-closed): an empty set, an erroring rule, an unknown action or a default deny is `blocked`.

mod authority;
mod judge;
mod request;
mod schema;
mod signals;

pub use authority::{Authority, Faulty};
pub use judge::{Facts, PlanVerdict, StepVerdict, judge, judge_step};
pub use schema::{cedar_schema, validate};
pub use signals::{Signal, Signals};

/// The policy set a workspace starts with.
pub const BASELINE: &str = include_str!("../../../infra/policies/baseline.cedar");
