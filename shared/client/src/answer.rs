//! An answer: its type, and the document as it came.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::Deref;

/// What a control plane answered. Fields that this version does not know are in the document only.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<A> {
    value: A,
    document: Value,
}

impl<A: DeserializeOwned> Answer<A> {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::of(contracts::json::decode(bytes).map_err(|error| error.to_string())?)
    }

    /// A document as an answer.
    pub fn of(document: Value) -> Result<Self, String> {
        let value = A::deserialize(&document).map_err(|error| error.to_string())?;
        Ok(Self { value, document })
    }

    /// One part of it, by the field that holds it.
    pub(crate) fn part<B>(self, name: &str, part: impl FnOnce(A) -> B) -> Answer<B> {
        let mut document = self.document;
        let document = document.get_mut(name).map(Value::take).unwrap_or_default();
        Answer { value: part(self.value), document }
    }
}

impl<A> Answer<A> {
    /// As it came.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Its type alone.
    pub fn into_inner(self) -> A {
        self.value
    }
}

impl<A> Deref for Answer<A> {
    type Target = A;
    fn deref(&self) -> &A {
        &self.value
    }
}
