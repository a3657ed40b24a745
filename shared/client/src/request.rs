//! A request as its row of the endpoint table says: what goes into the path, the query and the
//! body.

use crate::ClientError;
use contracts::endpoint::{Endpoint, Method};
use serde::Serialize;
use serde_json::{Map, Value};

/// What is sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Parts {
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// None: there is none, the method is GET.
    pub(crate) body: Option<Value>,
}

/// The parts of a request.
pub(crate) fn parts<Q: Serialize>(endpoint: &Endpoint, request: &Q) -> Result<Parts, ClientError> {
    let failed = |why: String| ClientError::Request(why);
    let request = serde_json::to_value(request).map_err(|error| failed(error.to_string()))?;
    let Value::Object(mut fields) = request else {
        return Err(failed("it is no object".into()));
    };
    let mut path = Vec::new();
    for segment in endpoint.path.split('/') {
        match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            None => path.push(segment.to_owned()),
            Some(name) => {
                let value = fields.remove(name).as_ref().and_then(text);
                let value = value.filter(|value| !matches!(value.as_str(), "" | "." | ".."));
                let value = value.ok_or_else(|| failed(format!("`{name}` cannot be in a path")))?;
                path.push(encoded(&value));
            }
        }
    }
    let path = path.join("/");
    Ok(match endpoint.method {
        Method::Get => Parts { path, query: query(fields)?, body: None },
        Method::Post => Parts { path, query: Vec::new(), body: Some(Value::Object(fields)) },
    })
}

fn query(fields: Map<String, Value>) -> Result<Vec<(String, String)>, ClientError> {
    let mut query = Vec::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        let value = text(&value)
            .ok_or_else(|| ClientError::Request(format!("`{name}` cannot be in a query")))?;
        query.push((name, value));
    }
    Ok(query)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

// A segment of a path (RFC 3986): everything but unreserved characters is encoded.
fn encoded(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{command::DisableSkill, operation as op, query::GetExecution};
    use serde_json::json;

    #[test]
    fn the_row_says_where_each_field_goes() {
        let id = format!("exe_{}", "0".repeat(32));
        let request: GetExecution =
            serde_json::from_value(json!({ "executionId": id, "waitSeconds": 5 })).unwrap();
        let get = parts(op::EXECUTION_GET.endpoint, &request).unwrap();
        assert_eq!(get.path, format!("/v1/executions/{id}"));
        let query: Vec<_> = get.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(query.join("&"), "includePlan=false&waitSeconds=5");
        assert_eq!(get.body, None);
        let skill = |key: &str| DisableSkill {
            skill_key: key.into(),
            version: None,
            reason: Some("because".into()),
        };
        let post = parts(op::SKILL_DISABLE.endpoint, &skill("a/../b?c")).unwrap();
        assert_eq!(post.path, "/v1/skills/a%2F..%2Fb%3Fc/disable");
        assert_eq!(post.body, Some(json!({ "reason": "because" })));
        for climbs in ["", ".", ".."] {
            assert!(parts(op::SKILL_DISABLE.endpoint, &skill(climbs)).is_err(), "{climbs}");
        }
    }
}
