//! From an intent to a judged plan: submit, compile, verify.

pub(crate) mod compile;
pub(crate) mod inbound;
pub(crate) mod receipts;
pub(crate) mod submit;
pub(crate) mod verify;
