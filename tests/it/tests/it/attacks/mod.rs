//! Attacks of our own, beyond the samples of the first audit. `docs/src/explanation/security.md`
//! lists them with their results.

mod approvals;
mod authority;
mod deliveries;
mod directory;
mod documents;
mod endings;
mod evidence;
mod floods;
mod gate;
mod kit;
mod mandates;
mod policy;
mod store;
mod transport;
mod values;
