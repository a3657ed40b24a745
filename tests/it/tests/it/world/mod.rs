//! What tools, schemas, keys and generators of the world do. Each test is a sample of it, or its
//! sibling.

pub(crate) mod kit;
mod plans;
mod results;
mod tools;
