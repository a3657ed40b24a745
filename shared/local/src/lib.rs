//! One process, one machine: the embedded table, blobs as files, the walker that drives the
//! committed state machine, tools over HTTP, stage events to a webhook, and the server that merges
//! every function's routes.

pub mod asl;
mod assembly;
mod blobs;
mod compute;
mod deliver;
pub mod demo_tools;
pub mod identity;
mod inbound;
mod keyring;
pub mod mail;
mod node;
mod notify;
mod private;
mod relay;
mod schedule;
mod server;
mod table;
mod vault_key;
mod walker;

pub use assembly::{Trigger, assembly, routes};
pub use blobs::{FileArchive, FileBlobs};
pub use node::{Identity, Node, Options, StartError};
pub use notify::LocalNotifier;
pub use private::private_files;
pub use table::{EmbeddedTable, Stats};
pub use vault_key::FileVaultKey;

/// Small answers leave at once instead of waiting for more.
fn nodelay(stream: &mut tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
}
