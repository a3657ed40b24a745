//! Canonical bytes and digests: RFC 8785 (JCS) and SHA-256.
//!
//! Every event, plan and verdict is hashed through here, several times per step, so the writer is
//! our own: what `serde_json` writes is put in order as text, without a tree in between. Numbers
//! that are no integers, whose text is the hard part of the RFC, are left to
//! `serde_json_canonicalizer`, which is also the reference in a differential test.

use contracts::Digest;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};
use std::ops::Range;

/// Longest integer, in characters, that every double represents exactly.
const SMALL_DIGITS: usize = 15;

/// A value has no canonical form. Values read by `contracts::json::parse` always have one.
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// Canonical JSON bytes (RFC 8785). A superset in one thing: an integer beyond 2^53 is written with
/// its own digits, where the RFC would round it to a double.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let text = serde_json::to_vec(value)?;
    let mut order =
        Order { text: &text, at: 0, bytes: Vec::with_capacity(text.len()), sorted: Vec::new() };
    match order.value() {
        Some(()) if order.at == text.len() => Ok(order.bytes),
        Some(()) | None => value_bytes(&serde_json::to_value(value)?),
    }
}

/// Canonical JSON bytes of a value that is there already.
pub fn value_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut bytes = Vec::with_capacity(512);
    write(value, &mut bytes)?;
    Ok(bytes)
}

/// SHA-256 of the canonical JSON bytes.
pub fn digest<T: Serialize>(value: &T) -> Result<Digest, CanonicalError> {
    Ok(digest_bytes(&to_bytes(value)?))
}

/// SHA-256 of the canonical bytes of an object without one of its keys.
pub(crate) fn digest_without(
    object: &Map<String, Value>,
    key: &str,
) -> Result<Digest, CanonicalError> {
    let mut bytes = Vec::with_capacity(512);
    write_object(object.iter().filter(|(name, _)| *name != key).collect(), &mut bytes)?;
    Ok(digest_bytes(&bytes))
}

fn write(value: &Value, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => bytes.extend_from_slice(b"null"),
        Value::Bool(true) => bytes.extend_from_slice(b"true"),
        Value::Bool(false) => bytes.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, bytes)?,
        Value::String(text) => write_text(text, bytes)?,
        Value::Array(items) => {
            bytes.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write(item, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Object(map) => write_object(map.iter().collect(), bytes)?,
    }
    Ok(())
}

fn write_object(
    mut entries: Vec<(&String, &Value)>,
    bytes: &mut Vec<u8>,
) -> Result<(), CanonicalError> {
    // Sorted by UTF-16 code units, which for ASCII is the order of bytes.
    if entries.iter().all(|(key, _)| key.is_ascii()) {
        entries.sort_unstable_by_key(|(key, _)| *key);
    } else {
        entries.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    }
    bytes.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        write_text(key, bytes)?;
        bytes.push(b':');
        write(value, bytes)?;
    }
    bytes.push(b'}');
    Ok(())
}

fn write_text(text: &str, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    // serde_json escapes exactly what the RFC escapes, in the same way.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        bytes.push(b'"');
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(bytes, text)?)
}

fn write_number(number: &Number, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    // Beyond 2^53 the RFC would round: a number that was read as an integer keeps its digits.
    if number.is_u64() || number.is_i64() {
        return Ok(serde_json::to_writer(bytes, number)?);
    }
    bytes.extend(serde_json_canonicalizer::to_vec(number)?);
    Ok(())
}

/// Sorts compact JSON as `serde_json` writes it. `None` for what the general path must handle: keys
/// with escapes, duplicate keys, numbers that are not small integers.
struct Order<'t> {
    text: &'t [u8],
    at: usize,
    bytes: Vec<u8>,
    sorted: Vec<u8>,
}

impl Order<'_> {
    fn value(&mut self) -> Option<()> {
        match *self.text.get(self.at)? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.string().map(|_| ()),
            b't' => self.copy(b"true".len()),
            b'f' => self.copy(b"false".len()),
            b'n' => self.copy(b"null".len()),
            _ => self.number(),
        }
    }

    fn copy(&mut self, count: usize) -> Option<()> {
        self.bytes.extend_from_slice(self.text.get(self.at..self.at + count)?);
        self.at += count;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let count = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e'));
        let count = count.count();
        let plain = rest.get(..count)?.iter().skip(1).all(u8::is_ascii_digit);
        if count == 0 || count > SMALL_DIGITS || !plain || rest.starts_with(b"-0") {
            return None;
        }
        self.copy(count)
    }

    // What stands between the quotes, in `bytes`.
    fn string(&mut self) -> Option<Range<usize>> {
        let rest = self.text.get(self.at + 1..)?;
        let mut count = 0;
        loop {
            match *rest.get(count)? {
                b'"' => break,
                b'\\' => count += 2,
                _ => count += 1,
            }
        }
        let start = self.bytes.len() + 1;
        self.copy(count + 2)?;
        Some(start..start + count)
    }

    fn array(&mut self) -> Option<()> {
        self.copy(1)?;
        while *self.text.get(self.at)? != b']' {
            self.value()?;
            if *self.text.get(self.at)? == b',' {
                self.copy(1)?;
            }
        }
        self.copy(1)
    }

    fn object(&mut self) -> Option<()> {
        self.copy(1)?;
        let start = self.bytes.len();
        // Of each member its key, and the whole of it.
        let mut members: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        while *self.text.get(self.at)? != b'}' {
            let from = self.bytes.len();
            let key = self.string()?;
            if self.bytes.get(key.clone())?.iter().any(|byte| !byte.is_ascii() || *byte == b'\\') {
                return None;
            }
            self.copy(1)?;
            self.value()?;
            members.push((key, from..self.bytes.len()));
            if *self.text.get(self.at)? == b',' {
                self.copy(1)?;
            }
        }
        let name = |(key, _): &(Range<usize>, Range<usize>)| {
            self.bytes.get(key.clone()).unwrap_or_default()
        };
        let in_order = |left: &_, right: &_| name(left) < name(right);
        if !members.is_sorted_by(in_order) {
            members.sort_unstable_by(|left, right| name(left).cmp(name(right)));
            if !members.is_sorted_by(in_order) {
                return None;
            }
            self.sorted.clear();
            for (index, (_, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    self.sorted.push(b',');
                }
                self.sorted.extend_from_slice(self.bytes.get(member)?);
            }
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(&self.sorted);
        }
        self.copy(1)
    }
}

/// SHA-256 of bytes as they are.
pub fn digest_bytes(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// SHA-256 of bytes that come one after the other.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    pub fn digest(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

/// SHA-256 of several parts, each with its length in front (8 bytes, big endian), so that no two
/// lists of parts collide.
pub fn digest_parts(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Digest::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn integers_beyond_2_to_the_53_keep_their_digits() {
        for text in ["1541815603606036480", "18446744073709551615", "-9223372036854775808"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(to_bytes(&value).unwrap(), text.as_bytes());
            assert_eq!(
                to_bytes(&json!({ "b": value, "a": [] })).unwrap(),
                format!("{{\"a\":[],\"b\":{text}}}").as_bytes()
            );
        }
    }

    #[test]
    fn rfc_8785_example() {
        let value = json!({
            "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u{20ac}$\u{000F}\u{000a}A'\u{0042}\u{0022}\u{005c}\\\"\u{002f}",
            "literals": [null, true, false]
        });
        let text = String::from_utf8(to_bytes(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"literals":[null,true,false],"#,
                r#""numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
                r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
            )
        );
    }

    #[test]
    fn rfc_8785_sorting_is_by_utf_16() {
        let value = json!({ "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5,
            "\u{80}": 6, "\u{f6}": 7 });
        let text = String::from_utf8(to_bytes(&value).unwrap()).unwrap();
        let order: Vec<char> = text.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(order, ['2', '1', '4', '6', '7', '1', '5', '3'], "{text}");
    }

    #[test]
    fn parts_do_not_collide() {
        assert_ne!(digest_parts(&[b"ab", b"c"]), digest_parts(&[b"a", b"bc"]));
        assert_ne!(digest_parts(&[b"ab"]), digest_parts(&[b"ab", b""]));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-(1_i64 << 53)..(1 << 53)).prop_map(|n| json!(n)),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| json!(n)),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(value in any_json()) {
            prop_assert_eq!(to_bytes(&value).unwrap(),
                serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }
}
