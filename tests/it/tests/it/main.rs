//! Integration tests on the embedded default: one binary, one link.

mod attacks;
mod book;
mod channels;
mod common;
mod deliver;
mod fuzz;
mod generated;
mod golden_traces;
mod golden_views;
mod half_commits;
mod handlers;
mod house;
mod layering;
mod loop_whole;
mod mcp;
mod pages;
mod people;
mod reference;
mod registry;
mod schedules;
mod side_doors;
mod stage_events;
mod table_contract;
mod torn_reads;
mod world;
