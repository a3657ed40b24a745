//! Queries: what callers ask to see. They change nothing.

mod execution;
mod policy;
mod skill;
mod trace;

pub use execution::{
    ApprovalView, ExecutionAnswer, ExecutionList, ExecutionOutput, ExecutionStatus,
    ExecutionSummary, ExecutionView, GetExecution, GetOutput, ListExecutions, OverrideView,
    StepView,
};
pub use policy::{
    Affected, AffectedByChange, Backtest, BacktestChange, BacktestImpact, BacktestPolicy,
    ExplainPolicy, Explanation, StepExplanation,
};
pub use skill::{GetCapabilities, ListSkills, SkillList, SkillVerified, SkillView};
pub use trace::{
    Difference, GetTrace, GetWorkspaceLog, Replay, ReplayTrace, Trace, TraceEntry, TraceHead,
    WorkspaceLog,
};
