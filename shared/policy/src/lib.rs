//! Verdicts. Cedar policies over a floor that no policy can loosen.
//!
//! **Architecture invariant:** pure. A verdict is a function of plan, facts and policy set, and the stored facts are
//! all that is needed to reach it again (INVARIANT replayable).
//!
//! INVARIANT (fail-closed): an empty set, an erroring rule, an unknown action or a default deny is `blocked`.

mod annotations;
mod authority;
mod backtest;
mod fold;
mod judge;
mod local_time;
mod nesting;
mod never;
mod request;
mod schema;
mod signals;
mod source;
mod templates;

pub use authority::{Authority, Faulty};
pub use backtest::{Past, changes, probe};
pub use judge::{Facts, Measured, Metered, PlanVerdict, StepVerdict, judge, judge_call, judge_calls};
pub use local_time::TimeZoneError;
pub use nesting::TooDeepError;
pub use schema::{cedar_schema, validate, validate_with};
pub use signals::{RiskPhrases, Signal, check_phrases, default_phrases};
pub use templates::{BASELINE, TEMPLATES};
