//! What happened, shown, replayed and exported.

mod explain;
pub(crate) mod export;
pub(crate) mod export_work;
pub(crate) mod inbox;
pub(crate) mod outputs;
pub(crate) mod queries;
pub(crate) mod replay;
pub(crate) mod views;
pub(crate) mod workspace_log;
