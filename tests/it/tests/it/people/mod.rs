//! People: who is told of what waits, and the links that they decide by.

mod arguments;
mod identities;
mod kit;
mod links;
mod moments;
mod scanner;
mod second_factor;
mod server;
mod told;
mod used;
