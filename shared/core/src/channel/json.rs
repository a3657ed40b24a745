//! Reading the documents of providers: what is needed of them, by pointer.

use super::ChannelError;
use contracts::{
    Timestamp, json,
    limits::{EXTERNAL_ID_BYTES_MAX, TEXT_BYTES_MAX},
};
use serde_json::Value;

/// A document, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ChannelError> {
        match json::decode::<Value>(json::unmarked(body)) {
            Ok(value) if value.is_object() => Ok(Self(value)),
            Ok(_) => Err(ChannelError::Malformed("not an object")),
            Err(_) => Err(ChannelError::Malformed("not JSON, or nested too deeply")),
        }
    }

    pub(crate) fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.get(pointer).is_some()
    }

    /// The parts of a list; none where there is no list.
    pub(crate) fn parts(&self, pointer: &str) -> Vec<Self> {
        let list = self.get(pointer).and_then(Value::as_array);
        list.into_iter().flatten().map(|part| Self(part.clone())).collect()
    }

    pub(crate) fn str(&self, pointer: &str) -> Option<&str> {
        self.get(pointer)?.as_str()
    }

    pub(crate) fn is(&self, pointer: &str, wanted: &str) -> bool {
        self.str(pointer) == Some(wanted)
    }

    /// An id, a text or a whole number, if it is there.
    pub(crate) fn id_if_any(&self, pointer: &str) -> Result<Option<String>, ChannelError> {
        let id = match self.get(pointer) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
            Some(_) => return Err(ChannelError::Malformed("an id is a text or a whole number")),
        };
        external_id(id).map(Some)
    }

    /// An id that must be there.
    pub(crate) fn id(&self, pointer: &'static str) -> Result<String, ChannelError> {
        self.id_if_any(pointer)?.ok_or(ChannelError::Malformed(pointer))
    }

    /// A moment in seconds since 1970, as a number or a text.
    pub(crate) fn seconds(&self, pointer: &'static str) -> Result<Timestamp, ChannelError> {
        let seconds = match self.get(pointer) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let ms = seconds.and_then(|seconds| seconds.checked_mul(1_000));
        ms.map(Timestamp::from_ms).ok_or(ChannelError::Malformed(pointer))
    }
}

/// Refuses an id that is empty or too long.
pub(super) fn external_id(id: String) -> Result<String, ChannelError> {
    match id.len() {
        1..=EXTERNAL_ID_BYTES_MAX => Ok(id),
        _ => Err(ChannelError::Malformed("an id is empty or too long")),
    }
}

/// Refuses a text that is too long. None: it says nothing.
pub(super) fn said(text: String) -> Result<Option<String>, ChannelError> {
    match text.len() {
        0..=TEXT_BYTES_MAX => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        _ => Err(ChannelError::TooLong),
    }
}
