//! The calls of a step: claimed, blocked, settled, tried again, resolved by people.

mod claim;
mod retry;
mod settle;

pub(super) use settle::UnknownOutcome;
