//! Forms: `application/x-www-form-urlencoded`, read once, strictly, and typed as the requests of
//! operations are.

use crate::request;
use axum::body::Body;
use contracts::{
    Code, Issue, Problem,
    endpoint::Parameter,
    limits::{FORM_FIELDS_MAX, NAME_BYTES_MAX},
};
use engine::Answer;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Field with the token that says from which page a form comes.
const CSRF: &str = "csrf";
/// Field that makes two sendings of one page's form one command.
const ONCE: &str = "once";

/// What a form says.
pub struct Form {
    /// By name, without the fields of the form itself. Empty fields are absent.
    pub fields: Map<String, Value>,
    /// Names this sending of the form: sent twice, it is done once.
    pub once: Option<String>,
    /// Fields that were sent empty.
    empty: BTreeSet<String>,
    pub(super) csrf: Option<String>,
}

impl Form {
    /// Reads a form from a request's body.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Answer<Self> {
        let kind = request::only(headers, "content-type")?
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(malformed("a form is application/x-www-form-urlencoded"));
        }
        let bytes = request::read_body(body).await?;
        let mut fields = decode(&bytes)?;
        let is_empty = |value: &Value| value.as_str().is_none_or(str::is_empty);
        let empty = fields.iter().filter(|(_, value)| is_empty(value));
        let empty = empty.map(|(name, _)| name.clone()).collect();
        fields.retain(|_, value| !is_empty(value));
        let mut own = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let (csrf, once) = (own(CSRF), own(ONCE));
        Ok(Self { fields, once, empty, csrf })
    }

    /// What a field was sent with, and be it nothing: what a page fills and a person empties.
    pub fn sent(&self, name: &str) -> Option<&str> {
        self.text(name).or_else(|| self.empty.contains(name).then_some(""))
    }

    /// A field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }
}

fn malformed(why: &str) -> Problem {
    Problem::new(Code::BadRequest, why)
}

// INVARIANT (data-is-never-control): decoded once; what is not well formed is refused, not guessed.
fn decode(bytes: &[u8]) -> Answer<Map<String, Value>> {
    let mut fields = Map::new();
    let mut count = 0;
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        count += 1;
        if count > FORM_FIELDS_MAX {
            return Err(malformed(&format!("a form of at most {FORM_FIELDS_MAX} fields")));
        }
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = unescape(halves.next().unwrap_or_default())?;
        let value = unescape(halves.next().unwrap_or_default())?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(malformed("a field of the form has no name, or too long a one"));
        }
        if fields.contains_key(&name) {
            let issue = Issue::new(format!("/{name}"), "this field stands there twice");
            return Err(malformed("a field of the form stands there twice").issue(issue));
        }
        // Browsers send every line's end as two characters.
        fields.insert(name, Value::String(value.replace("\r\n", "\n")));
    }
    Ok(fields)
}

fn unescape(bytes: &[u8]) -> Answer<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                (_, _) => return Err(malformed("the form has an escape that is none")),
            },
            plain if plain.is_ascii_graphic() => *plain,
            _ => return Err(malformed("the form has a character that is not escaped")),
        });
    }
    String::from_utf8(out).map_err(|_| malformed("the form is not UTF-8"))
}

/// Fields as what they stand for.
pub(super) fn typed<T: DeserializeOwned>(
    mut fields: Map<String, Value>,
    parameters: &[(&str, Parameter)],
) -> Answer<T> {
    for (name, value) in &mut fields {
        let Some((_, parameter)) = parameters.iter().find(|(typed, _)| typed == name) else {
            continue;
        };
        let text = value.as_str().unwrap_or_default();
        let wrong = |kind: &str| {
            let issue = Issue::new(format!("/{name}"), format!("`{text}` is not {kind}"));
            Problem::new(Code::ValidationFailed, "a field is not valid").issue(issue)
        };
        *value = match parameter {
            Parameter::Flag => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
            Parameter::Number => {
                Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?)
            }
        };
    }
    super::typed_value(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_once_and_strictly() {
        let fields = decode(b"reason=a%2525+b%0D%0Ac&empty=&step_id=%C3%A4").unwrap();
        assert_eq!(fields["reason"], "a%25 b\nc");
        assert_eq!(fields["step_id"], "ä");
        assert_eq!(fields["empty"], "");
        for bad in
            ["a=%", "a=%2", "a=%zz", "a=%FF", "a=1&a=2", "=1", "a=\u{0}", "a=%+1", "a=%-1", "a=ä"]
        {
            assert!(decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let many: String = (0..=FORM_FIELDS_MAX).map(|index| format!("f{index}=1&")).collect();
        assert!(decode(many.as_bytes()).is_err());
    }
}
