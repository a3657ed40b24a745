//! What happened, shown, replayed and exported.

pub(crate) mod bundle;
pub(crate) mod documents;
mod explain;
pub(crate) mod export;
pub(crate) mod export_files;
pub(crate) mod export_work;
pub(crate) mod inbox;
pub(crate) mod outputs;
pub(crate) mod queries;
pub(crate) mod receipt;
pub(crate) mod replay;
pub(crate) mod transparency;
pub(crate) mod views;
pub(crate) mod workspace_log;
