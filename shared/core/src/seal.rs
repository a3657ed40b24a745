//! Sealing: sensitive values leave the evidence before it is written (**no-secrets-in-evidence**).
//!
//! A value that a schema marks `x-sensitive` is replaced by `{"$sealed": digest}`, a salted commitment; the value and
//! its salt go to the vault, outside the trace. Deleting the vault entry redacts the value and leaves every hash valid.

use crate::{
    canonical::{self, NotCanonical},
    schema::Schema,
};
use contracts::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The key that marks a commitment.
pub const SEALED: &str = "$sealed";

/// A sealed value, kept apart from the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    pub commitment: Digest,
    /// 16 random bytes, hexadecimal.
    pub salt: String,
    pub value: Value,
}

/// The commitment of a value under a salt: sha256(JCS([salt, value])).
pub fn commitment(salt: &str, value: &Value) -> Result<Digest, NotCanonical> {
    canonical::digest(&json!([salt, value]))
}

/// The commitment that stands for a value, if the value is one.
pub fn sealed(value: &Value) -> Option<Digest> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get(SEALED)?.as_str()?.parse().ok()
}

/// Replaces every sensitive value of `value` by its commitment. `salt` gives a fresh salt for each.
/// Wires (`$from`) and commitments stay as they are.
pub fn seal(
    value: &mut Value,
    schema: &Schema,
    salt: &mut dyn FnMut() -> String,
) -> Result<Vec<Secret>, NotCanonical> {
    let mut secrets = Vec::new();
    for pattern in schema.sensitive() {
        let parts: Vec<&str> = pattern.split('/').skip(1).collect();
        seal_at(value, &parts, salt, &mut secrets)?;
    }
    Ok(secrets)
}

fn seal_at(
    value: &mut Value,
    parts: &[&str],
    salt: &mut dyn FnMut() -> String,
    secrets: &mut Vec<Secret>,
) -> Result<(), NotCanonical> {
    if is_marker(value, "$literal")
        && let Some(inner) = value.get_mut("$literal").map(Value::take)
    {
        *value = inner;
    }
    if is_marker(value, SEALED) || value.get("$from").is_some() {
        return Ok(());
    }
    let Some((first, rest)) = parts.split_first() else {
        let salt = salt();
        let commitment = commitment(&salt, value)?;
        let value = std::mem::replace(value, json!({ SEALED: commitment }));
        secrets.push(Secret { commitment, salt, value });
        return Ok(());
    };
    match value {
        Value::Array(items) if *first == "*" => {
            items.iter_mut().try_for_each(|item| seal_at(item, rest, salt, secrets))
        }
        Value::Object(map) => {
            let name = first.replace("~1", "/").replace("~0", "~");
            map.get_mut(&name).map_or(Ok(()), |inner| seal_at(inner, rest, salt, secrets))
        }
        _ => Ok(()),
    }
}

fn is_marker(value: &Value, key: &str) -> bool {
    value.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(key))
}

/// Puts sealed values back, for the call itself. `None` where a commitment is not in the vault: it was redacted.
pub fn open(value: &Value, vault: &dyn Fn(&Digest) -> Option<Value>) -> Option<Value> {
    if let Some(commitment) = sealed(value) {
        return vault(&commitment);
    }
    match value {
        Value::Array(items) => {
            items.iter().map(|item| open(item, vault)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, inner)| Some((key.clone(), open(inner, vault)?)))
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(Value::Object),
        other => Some(other.clone()),
    }
}

/// Whether a commitment stands anywhere in a value.
pub fn holds_sealed(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key(SEALED) || map.values().any(holds_sealed),
        Value::Array(items) => items.iter().any(holds_sealed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secrets_in_evidence() {
        let schema = Schema::compile(&json!({"type":"object","properties":{
            "card":{"type":"string","x-sensitive":true},
            "people":{"type":"array","items":{"type":"object","properties":{"ssn":{"type":"string","x-sensitive":true}}}},
            "note":{"type":"string"}}}))
        .unwrap();
        let plain = json!({"card":"4111","people":[{"ssn":"1"},{"ssn":"1"}],"note":"hi"});
        let mut value = plain.clone();
        let mut count = 0;
        let secrets = seal(&mut value, &schema, &mut || {
            count += 1;
            format!("salt{count}")
        })
        .unwrap();
        assert_eq!(secrets.len(), 3);
        assert!(!value.to_string().contains("4111"));
        assert_ne!(value.pointer("/people/0"), value.pointer("/people/1"), "salted: equal values do not show");
        let vault = |digest: &Digest| secrets.iter().find(|s| &s.commitment == digest).map(|s| s.value.clone());
        assert_eq!(open(&value, &vault).unwrap(), plain);
        assert_eq!(open(&value, &|_| None), None);
    }
}
