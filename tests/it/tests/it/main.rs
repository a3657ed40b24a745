//! Integration tests on the embedded default: one binary, one link.

mod attacks;
mod common;
mod fuzz;
mod generated;
mod golden_traces;
mod golden_views;
mod half_commits;
mod handlers;
mod layering;
mod loop_whole;
mod mcp;
mod registry;
mod schedules;
mod side_doors;
mod stage_events;
mod table_contract;
mod world;
