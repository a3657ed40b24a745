//! Pure decisions. Plans, executions, approvals, skills, traces and warrants as functions of
//! values.
//!
//! **Architecture invariant:** no clock, randomness, environment, I/O or async in this crate; `now`
//! is an argument.

pub mod actor;
pub mod artifact;
pub mod canonical;
pub mod channel;
pub mod currency;
pub mod destination;
pub mod directory;
pub mod execution;
pub mod flow;
pub mod lenient_base64;
pub mod link;
pub mod mail;
pub mod note;
pub mod plan;
pub mod playbook;
pub mod publisher;
pub mod receipt;
pub mod schema;
mod schema_cost;
pub mod schema_fit;
pub mod seal;
pub mod sensitive;
pub mod skill;
pub mod slack;
pub mod suggest;
pub mod target;
pub mod text;
pub mod trace;
pub mod transparency;
pub mod trust;
pub mod view;
pub mod warrant;
