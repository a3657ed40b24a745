//! Runs what can run: the gate to every effect, calls to tools, values, meters, the vault.

pub(crate) mod advance;
pub(crate) mod call;
pub(crate) mod gate;
pub(crate) mod mandate;
pub(crate) mod meters;
pub(crate) mod values;
pub(crate) mod vault;
pub(crate) mod words;
