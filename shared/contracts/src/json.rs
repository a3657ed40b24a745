//! Reading JSON that strangers wrote. Stricter than `serde_json`: I-JSON (RFC 7493), so that what was checked is
//! what is signed. Duplicate keys, numbers outside ±(2⁵³−1), deep nesting and invalid UTF-8 are refused with a pointer.

use crate::{
    Code, Issue, Problem,
    limits::{ISSUES_MAX, JSON_DEPTH_MAX},
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::RefCell, fmt};

const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Reads one JSON document as I-JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let path = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { depth: 0, path: &path };
    let found = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    found.map_err(|error| {
        let pointer: String = path.borrow().iter().map(|part: &String| format!("/{part}")).collect();
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
        if value.unsigned_abs() > SAFE_INTEGER_MAX {
            return Err(E::custom(format!("the number {value} is outside ±(2^53-1)")));
        }
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > SAFE_INTEGER_MAX {
            return Err(E::custom(format!("the number {value} is outside ±(2^53-1)")));
        }
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.fract() == 0.0 && value.abs() > SAFE_INTEGER_MAX as f64 {
            return Err(E::custom(format!("the number {value} is outside ±(2^53-1)")));
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
                serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        Problem::new(Code::ValidationFailed, "the request does not have the form of its schema")
            .issue(Issue::new(pointer, error.inner().to_string()))
    })
}

/// Cuts a list of issues at [`ISSUES_MAX`], saying how many were cut.
pub fn clip_issues(mut issues: Vec<Issue>) -> Vec<Issue> {
    let cut = issues.len().saturating_sub(ISSUES_MAX);
    issues.truncate(ISSUES_MAX);
    if cut > 0 {
        issues.push(Issue::new(String::new(), format!("and {cut} more")));
    }
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
        refused(br#"{"a":[1,9007199254740993]}"#, "/a/1", "2^53-1");
        refused(br#"{"n":-9007199254740993}"#, "/n", "2^53-1");
        refused(br#"{"n":1e400}"#, "/n", "");
        refused(b"{\"a\":\"\xff\"}", "/a", "");
        refused(br#"{"a":"\ud800"}"#, "/a", "");
        refused(br#"{"a":1} x"#, "", "trailing");
        refused(br#"{"a":"#, "/a", "EOF");
        refused("[".repeat(5_000).as_bytes(), &"/0".repeat(64), "64 levels");
    }

    #[test]
    fn accepts_ordinary_documents() {
        assert_eq!(
            parse(br#"{"a":[1,2.5,-3,null,true,"x"],"b":1.0}"#).unwrap().to_string(),
            r#"{"a":[1,2.5,-3,null,true,"x"],"b":1}"#
        );
    }
}
