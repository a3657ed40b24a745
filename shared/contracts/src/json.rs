//! Reading JSON that strangers wrote. Stricter than `serde_json`: I-JSON (RFC 7493), so that what
//! was checked is what is signed. Duplicate keys, deep nesting and invalid UTF-8 are refused with a
//! pointer; so are numbers that cannot be kept digit by digit. Wider than I-JSON in one thing:
//! integers beyond 2⁵³ are kept exactly, as far as 64 bits go, because ids of many systems are such
//! numbers.

use crate::{
    Code, Issue, Problem,
    limits::{EVENT_ISSUES_BYTES_MAX, ISSUES_MAX, JSON_DEPTH_MAX},
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::RefCell, fmt};

/// Room for `and ... more`.
const MORE_BYTES_MAX: usize = 128;
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A document is nested deeper than [`JSON_DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nested deeper than {JSON_DEPTH_MAX} levels, at byte {offset}")]
pub struct TooDeepError {
    /// Where the level begins that is one too many.
    pub offset: usize,
}

/// Refuses what is nested too deeply, by one pass over the bytes that uses no stack.
///
/// INVARIANT (bounded-work): every parser that calls itself is behind this.
pub fn check_nesting(bytes: &[u8]) -> Result<(), TooDeepError> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (offset, byte) in bytes.iter().enumerate() {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => in_text = true,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(TooDeepError { offset });
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
    }
    Ok(())
}

/// Reads a document of another program's making (an event of AWS, a file, an answer of a server),
/// whose numbers and keys are its own affair. Whatever is hashed, stored or signed goes through
/// [`parse`] instead.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    check_nesting(bytes).map_err(serde_json::Error::custom)?;
    serde_json::from_slice(bytes)
}

/// A document without the byte order mark that some programs put in front of it (RFC 8259, section
/// 8.1).
pub fn unmarked(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// Reads one JSON document as I-JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    check_nesting(bytes).map_err(|error| {
        Problem::new(Code::BadRequest, "the body is not a JSON document that Countersign accepts")
            .issue(Issue::new("", error.to_string()))
    })?;
    let path = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { depth: 0, path: &path };
    let found = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    found.map_err(|error| {
        let pointer: String =
            path.borrow().iter().map(|part: &String| format!("/{part}")).collect();
        Problem::new(Code::BadRequest, "the body is not a JSON document that Countersign accepts")
            .issue(Issue::new(pointer, error.to_string()))
    })
}

struct Strict<'p> {
    depth: usize,
    path: &'p RefCell<Vec<String>>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(&self, part: String) -> Result<Strict<'_>, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        self.path.borrow_mut().push(part);
        Ok(Strict { depth: self.depth + 1, path: self.path })
    }
    // Left in place on errors, so that the path names where reading stopped.
    fn leave(&self) {
        self.path.borrow_mut().pop();
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.fract() == 0.0 && value.abs() > SAFE_INTEGER_MAX as f64 {
            return Err(E::custom(
                "a number that cannot be kept digit by digit: outside of 64 bits, or with a \
                 fraction or an exponent beyond 2^53",
            ));
        }
        if value.fract() == 0.0 {
            return Ok(Value::Number((value as i64).into())); // 1.0 and 1 are one number (RFC 8785)
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let seed = self.inner(items.len().to_string())?;
            let Some(item) = access.next_element_seed(seed)? else {
                self.leave();
                return Ok(Value::Array(items));
            };
            items.push(item);
            self.leave();
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let seed = self.inner(escape(&key))?;
            if map.contains_key(&key) {
                return Err(A::Error::custom("this key stands here twice"));
            }
            let value = access.next_value_seed(seed)?;
            map.insert(key, value);
            self.leave();
        }
        Ok(Value::Object(map))
    }
}

/// One reference token of a JSON pointer, escaped (RFC 6901).
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Reads a typed value; the error names the JSON pointer.
pub fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer: String = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(format!("/{index}")),
                serde_path_to_error::Segment::Map { key } => Some(format!("/{}", escape(key))),
                serde_path_to_error::Segment::Enum { .. }
                | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        Problem::new(Code::ValidationFailed, "the request does not have the form of its schema")
            .issue(Issue::new(
                pointer,
                wanted(&crate::names::with_nearest(error.inner().to_string())),
            ))
    })
}

/// What serde says was wanted, without what was found: only its kind. INVARIANT
/// (no-secrets-in-evidence).
pub fn wanted(message: &str) -> String {
    // `invalid type: string "...", expected a map`; names of fields and variants are the caller's,
    // values are not told.
    for (prefix, says) in [("invalid type: ", "wrong type"), ("invalid value: ", "wrong value")] {
        if let Some(rest) = message.strip_prefix(prefix) {
            let kind = rest.split([' ', '`', '"', ',']).next().unwrap_or_default();
            let expected =
                rest.rsplit_once(", expected ").map_or("another", |(_, expected)| expected);
            return format!("{says}: {kind}, expected {expected}");
        }
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let expected = rest.rsplit_once("`, expected ").map_or("another", |(_, expected)| expected);
        return format!("unknown variant, expected {expected}");
    }
    message.to_owned()
}

/// Cuts a list of issues at [`ISSUES_MAX`] and [`EVENT_ISSUES_BYTES_MAX`], saying how many were
/// cut. Doing it twice changes nothing.
pub fn clip_issues(mut issues: Vec<Issue>) -> Vec<Issue> {
    let total: usize = issues.iter().map(Issue::json_bytes).sum();
    if issues.len() <= ISSUES_MAX && total <= EVENT_ISSUES_BYTES_MAX {
        return issues;
    }
    // The line that says how many were cut takes a place of its own.
    let mut left = EVENT_ISSUES_BYTES_MAX - MORE_BYTES_MAX;
    let fits = issues.iter().take(ISSUES_MAX - 1).take_while(|issue| {
        let (before, size) = (left, issue.json_bytes());
        left = left.saturating_sub(size);
        size <= before
    });
    let kept = fits.count();
    let cut = issues.len() - kept;
    issues.truncate(kept);
    issues.push(Issue::new("", format!("and {cut} more")));
    issues
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[track_caller]
    fn refused(text: &[u8], pointer: &str, says: &str) {
        let problem = parse(text).unwrap_err();
        let issue = &problem.issues[0];
        assert_eq!(issue.pointer, pointer, "{}", issue.message);
        assert!(issue.message.contains(says), "{}", issue.message);
    }

    #[test]
    fn refuses_what_i_json_refuses() {
        refused(br#"{"a":{"b":1,"b":2}}"#, "/a/b", "twice");
        refused(br#"{"a":[1,18446744073709551616]}"#, "/a/1", "digit by digit");
        refused(br#"{"n":-9223372036854775809}"#, "/n", "digit by digit");
        refused(br#"{"n":9007199254740993.0}"#, "/n", "digit by digit");
        refused(br#"{"n":1e400}"#, "/n", "");
        refused(b"{\"a\":\"\xff\"}", "/a", "");
        refused(br#"{"a":"\ud800"}"#, "/a", "");
        refused(br#"{"a":1} x"#, "", "trailing");
        refused(br#"{"a":"#, "/a", "EOF");
        refused("[".repeat(5_000).as_bytes(), "", "64 levels, at byte 64");
    }

    #[test]
    fn integers_of_64_bits_keep_their_digits() {
        for text in [
            "1541815603606036480",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(super::unmarked("\u{feff}{}".as_bytes()), b"{}");
    }

    #[test]
    fn bounded_work_nesting_is_counted_outside_of_texts() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(super::check_nesting(nested(64).as_bytes()), Ok(()));
        assert_eq!(
            super::check_nesting(nested(65).as_bytes()),
            Err(super::TooDeepError { offset: 64 })
        );
        assert!(parse(nested(64).as_bytes()).is_ok());
        let text = serde_json::json!({ "a": "[".repeat(1_000), "b\\\"": "{\\\"".repeat(1_000) })
            .to_string();
        assert!(parse(text.as_bytes()).is_ok());
        assert_eq!(super::check_nesting("[]".repeat(10_000).as_bytes()), Ok(()));
        assert!(super::decode::<serde_json::Value>("[".repeat(10_000_000).as_bytes()).is_err());
    }

    #[test]
    fn bounded_work_issues_fit_into_an_event() {
        let issue = |n: usize| crate::Issue::coded("CODE", "/\u{1}".repeat(n), "\u{0}".repeat(n));
        assert!(issue(1_000_000).json_bytes() < 2_000);
        let clipped = super::clip_issues((0..1_000).map(issue).collect());
        assert!(
            serde_json::to_vec(&clipped).unwrap().len()
                <= crate::limits::EVENT_ISSUES_BYTES_MAX + 200
        );
        assert!(clipped.last().unwrap().message.starts_with("and "));
        assert_eq!(super::clip_issues(clipped.clone()), clipped);
    }

    #[test]
    fn no_secrets_in_evidence() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Form {
            n: u8,
            map: std::collections::BTreeMap<String, u8>,
            kind: Kind,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Kind {
            One,
        }
        let ok = serde_json::json!({ "n": 1, "map": {}, "kind": "One" });
        for (key, wrong) in [
            ("n", serde_json::json!("4111")),
            ("n", serde_json::json!(4111)),
            ("n", serde_json::json!("4111, expected u8")),
            ("map", serde_json::json!("4111")),
            ("map", serde_json::json!({ "a": "4111" })),
            ("kind", serde_json::json!("4111`, expected `x")),
        ] {
            let mut value = ok.clone();
            value[key] = wrong;
            let problem = super::typed::<Form>(value).unwrap_err();
            assert!(!problem.issues[0].message.contains("4111"), "{problem:?}");
            assert!(problem.issues[0].message.contains("expected"), "{problem:?}");
        }
    }

    #[test]
    fn accepts_ordinary_documents() {
        assert_eq!(
            parse(br#"{"a":[1,2.5,-3,null,true,"x"],"b":1.0}"#).unwrap().to_string(),
            r#"{"a":[1,2.5,-3,null,true,"x"],"b":1}"#
        );
    }
}
