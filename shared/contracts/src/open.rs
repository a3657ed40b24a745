//! Values of types that grow: a reader keeps what a newer server says and shows it as it came.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;
use std::{borrow::Cow, fmt};

/// A value of `T` in an answer, or one that this version does not know. Enumerations are closed in
/// requests and open in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open<T> {
    Known(T),
    /// As it came.
    Unknown(Value),
}

impl<T> Open<T> {
    /// The value, if this version knows it.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T: DeserializeOwned> Open<T> {
    /// The value that a word of the wire stands for.
    pub fn word(word: &str) -> Self {
        Self::read(Value::from(word))
    }

    fn read(value: Value) -> Self {
        T::deserialize(&value).map_or_else(|_| Self::Unknown(value), Self::Known)
    }
}

impl<T> From<T> for Open<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Open<T> {
    fn eq(&self, other: &T) -> bool {
        self.known() == Some(other)
    }
}

/// A word as it is on the wire; anything else as JSON.
impl<T: Serialize> fmt::Display for Open<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_value(self).map_err(|_| fmt::Error)? {
            Value::String(word) => f.pad(&word),
            other => write!(f, "{other}"),
        }
    }
}

impl<T: Serialize> Serialize for Open<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

/// The schema says what this version writes.
impl<T: JsonSchema> JsonSchema for Open<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::Open;
    use crate::query::ExecutionStatus;
    use serde_json::json;

    #[test]
    fn what_a_newer_server_says_is_kept_and_shown() {
        let read = |value| serde_json::from_value::<Open<ExecutionStatus>>(value).unwrap();
        let known = read(json!("paused"));
        assert!(known == ExecutionStatus::Paused && known.to_string() == "paused");
        let newer = read(json!("hibernating"));
        assert!(newer.known().is_none() && newer.to_string() == "hibernating");
        assert_eq!(serde_json::to_value(&newer).unwrap(), json!("hibernating"));
        assert_eq!(read(json!({ "kind": "x" })).to_string(), r#"{"kind":"x"}"#);
        assert_eq!(Open::<ExecutionStatus>::word("failed"), ExecutionStatus::Failed);
    }
}
