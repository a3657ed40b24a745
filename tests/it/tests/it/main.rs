//! Integration tests on the embedded default: one binary, one link.

mod generated;
mod golden_traces;
mod layering;
mod loop_whole;
mod stage_events;
mod table_contract;
