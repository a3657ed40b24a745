//! How a command prints: for people, or as JSON for machines.

use crate::{
    error::CliError,
    visible::{Visible, json_line},
};
use anstream::println;
use client::Answer;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON document a line.
    pub json: bool,
    /// Identifiers in full.
    pub wide: bool,
}

impl Output {
    /// An answer: as it came, or by a renderer for people.
    pub fn show<A: DeserializeOwned>(
        self,
        answer: &Answer<A>,
        render: impl FnOnce(&Visible<A>),
    ) -> Result<(), CliError> {
        if self.json {
            json(answer.document());
        } else {
            render(&Visible::of(answer)?);
        }
        Ok(())
    }
}

/// JSON for machines, in one line.
pub fn json(value: &Value) {
    println!("{}", json_line(value));
}
