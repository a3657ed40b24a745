//! Verdicts. Cedar policies over a floor that no policy can loosen.
//!
//! **Architecture invariant:** pure. A verdict is a function of plan, facts and policy set, and the
//! stored facts are all that is needed to reach it again (INVARIANT replayable).
//!
//! INVARIANT (fail-closed): an empty set, an erroring rule, an unknown action or a default deny is
//! `blocked`.

mod annotations;
mod backtest;
mod fold;
mod impact;
mod input_type;
mod judge;
mod local_time;
mod mandate;
mod nesting;
mod never;
mod policy_set;
mod request;
mod schema;
mod signals;
mod source;
mod templates;

pub use backtest::{PastVerdict, changes, probe};
pub use impact::impact;
pub use judge::{
    Facts, Measured, Metered, PlanVerdict, StepVerdict, judge, judge_call, judge_calls,
    mandate_request,
};
pub use local_time::TimeZoneError;
pub use mandate::{ConditionError, MandateCondition, is_plain, validate_condition};
pub use nesting::TooDeepError;
pub use policy_set::{CompiledPolicySet, PolicySetError};
pub use schema::{cedar_schema, validate, validate_with};
pub use signals::{RiskPhrases, Signal, check_phrases, default_phrases};
pub use templates::{BASELINE, TEMPLATES};
