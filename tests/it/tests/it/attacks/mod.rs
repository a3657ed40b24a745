//! Attacks of our own, beyond the samples of the first audit. `docs/security.md` lists them with their results.

mod authority;
mod deliveries;
mod documents;
mod endings;
mod evidence;
mod floods;
mod gate;
mod kit;
mod policy;
mod store;
mod transport;
mod values;
