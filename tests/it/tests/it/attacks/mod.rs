//! Attacks of our own, beyond the samples of the first audit. `docs/security.md` lists them with their results.

mod authority;
mod deliveries;
mod floods;
mod store;
mod transport;
