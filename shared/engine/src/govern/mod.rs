//! What may be installed, decided, touched and spent, and by whom: each change is on record.

pub(crate) mod access;
mod admission;
pub(crate) mod channels;
pub(crate) mod deciders;
mod directory;
pub(crate) mod freezes;
pub(crate) mod in_force;
pub(crate) mod limits;
pub(crate) mod mandates;
pub(crate) mod names;
pub(crate) mod policies;
pub(crate) mod quorum;
pub(crate) mod refusals;
pub(crate) mod requester;
pub(crate) mod risk_phrases;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod skills;
pub(crate) mod subscriptions;
pub(crate) mod switches;
pub(crate) mod trust;
