//! Deliveries of stage events: each target and stream by itself.

mod breaker;
mod kit;
mod mail;
mod operations;
mod removal;
mod retries;
mod sockets;
