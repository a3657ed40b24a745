//! Sealing: sensitive values leave the evidence before it is written (INVARIANT
//! no-secrets-in-evidence).
//!
//! A sealed document is the value with its sensitive places emptied, and beside it the salted
//! commitments of what stood there. Nothing inside the value is a marker (INVARIANT
//! data-is-never-control). Salts and values go to the vault, outside the trace; without the vault's
//! entry the value is redacted and every hash stays valid.

use crate::{
    canonical::{self, CanonicalError},
    schema::within,
};
use contracts::{Digest, json::escape};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Commitments by the pointer of the place they stand for.
pub type Seals = BTreeMap<String, Digest>;

/// A document as evidence holds it. Its digest is that of both parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Null at each of the sealed places.
    pub value: Value,
    pub seals: Seals,
}

/// One sealed value, kept apart from the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Hexadecimal.
    pub salt: String,
    pub value: Value,
}

/// What one document's seals hide, by pointer.
pub type Secrets = BTreeMap<String, Secret>;

/// A document with its sensitive values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    pub value: Value,
    /// Sensitive places, and the salt of each.
    pub salts: BTreeMap<String, String>,
    /// Sensitive places whose value is gone: null in `value`.
    pub closed: BTreeSet<String>,
}

impl Sealed {
    /// The digest of the document.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        canonical::digest(self)
    }

    /// The value without its sealed places: members of objects are left out, items of arrays are
    /// null.
    pub fn visible(&self) -> Value {
        without(self.value.clone(), self.seals.keys())
    }

    /// Puts the sealed values back, each checked against its commitment.
    pub fn open(&self, secrets: &Secrets) -> Result<Opened, CanonicalError> {
        let mut opened = Opened { value: self.value.clone(), ..Opened::default() };
        for (pointer, seal) in &self.seals {
            let secret = secrets.get(pointer);
            let matches = match secret {
                Some(secret) => commitment(&secret.salt, &secret.value)? == *seal,
                None => false,
            };
            match (secret.filter(|_| matches), opened.value.pointer_mut(pointer)) {
                (Some(secret), Some(place)) => {
                    *place = secret.value.clone();
                    opened.salts.insert(pointer.clone(), secret.salt.clone());
                }
                (Some(_) | None, Some(_) | None) => {
                    opened.closed.insert(pointer.clone());
                }
            }
        }
        Ok(opened)
    }
}

impl Opened {
    /// The value at a pointer; `Err` where any of it is gone.
    pub fn at(&self, pointer: &str) -> Result<Option<&Value>, RedactedError> {
        if self.closed.iter().any(|closed| within(closed, pointer) || within(pointer, closed)) {
            return Err(RedactedError);
        }
        Ok(self.value.pointer(pointer))
    }

    /// The sensitive places of what stands at `pointer`, as they lie once it stands at `to`, and
    /// their salts.
    pub fn carried(&self, pointer: &str, to: &str) -> Vec<(String, String)> {
        let carried = self.salts.iter().filter_map(|(place, salt)| {
            if within(pointer, place) {
                return Some((to.to_owned(), salt.clone()));
            }
            let rest = place.strip_prefix(pointer).filter(|_| within(place, pointer))?;
            Some((format!("{to}{rest}"), salt.clone()))
        });
        carried.collect()
    }
}

/// A sensitive value is needed, but no longer in the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sensitive value was redacted before the call")]
pub struct RedactedError;

/// The commitment of a value under a salt: sha256(JCS([salt, value])).
pub fn commitment(salt: &str, value: &Value) -> Result<Digest, CanonicalError> {
    canonical::digest(&json!([salt, value]))
}

/// Takes the values at these places out of a document. `salt` gives the salt of each.
pub fn seal(
    mut value: Value,
    places: &BTreeSet<String>,
    salt: &mut dyn FnMut(&str) -> String,
) -> Result<(Sealed, Secrets), CanonicalError> {
    let (mut seals, mut secrets) = (Seals::new(), Secrets::new());
    for place in outermost(places) {
        let Some(found) = value.pointer_mut(place) else { continue };
        let salt = salt(place);
        seals.insert(place.clone(), commitment(&salt, found)?);
        secrets.insert(place.clone(), Secret { salt, value: found.take() });
    }
    Ok((Sealed { value, seals }, secrets))
}

// Those of the places that are in no other.
fn outermost(places: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    places.iter().filter(|place| {
        let mut above = place.rmatch_indices('/').filter_map(|(end, _)| place.get(..end));
        !above.any(|above| places.contains(above))
    })
}

/// A value without these places: members of objects are left out, items of arrays become null.
pub fn without<'p>(mut value: Value, places: impl Iterator<Item = &'p String>) -> Value {
    for place in places {
        let Some((parent, last)) = place.rsplit_once('/') else {
            return json!({});
        };
        match value.pointer_mut(parent) {
            Some(Value::Object(map)) => {
                map.remove(&unescape(last));
            }
            Some(Value::Array(items)) => {
                if let Some(item) = last.parse().ok().and_then(|index: usize| items.get_mut(index))
                {
                    *item = Value::Null;
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
        }
    }
    value
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// `base`, and the pointer of one member below it.
pub fn member(base: &str, name: &str) -> String {
    format!("{base}/{}", escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn sealed(value: Value, schema: &Schema) -> (Sealed, Secrets) {
        let mut count = 0;
        let mut salt = |_: &str| {
            count += 1;
            format!("salt{count}")
        };
        seal(value.clone(), &schema.sensitive_in(&value), &mut salt).unwrap()
    }

    #[test]
    fn no_secrets_in_evidence() {
        let schema = Schema::compile(&json!({"type":"object","properties":{
            "card":{"type":"string","x-sensitive":true},
            "people":{"type":"array","items":{"type":"object",
                "properties":{"ssn":{"type":"string","x-sensitive":true}}}},
            "note":{"type":"string"}}}))
        .unwrap();
        let plain = json!({"card":"4111","people":[{"ssn":"1"},{"ssn":"1"}],"note":"hi"});
        let (document, secrets) = sealed(plain.clone(), &schema);
        assert_eq!(secrets.len(), 3);
        assert_eq!(
            document.value,
            json!({"card":null,"people":[{"ssn":null},{"ssn":null}],"note":"hi"})
        );
        let seals = &document.seals;
        assert_ne!(
            seals["/people/0/ssn"], seals["/people/1/ssn"],
            "salted: equal values do not show"
        );
        assert_eq!(document.visible(), json!({"people":[{},{}],"note":"hi"}));
        let opened = document.open(&secrets).unwrap();
        assert_eq!(opened.value, plain);
        assert_eq!(
            opened.carried("/people/1", "/who"),
            vec![("/who/ssn".into(), secrets["/people/1/ssn"].salt.clone())]
        );
        assert_eq!(
            opened.carried("/card/x", "/c").len(),
            1,
            "a part of a sensitive value is sensitive"
        );
        assert!(opened.carried("/note", "/c").is_empty());
    }

    #[test]
    fn what_is_gone_or_exchanged_stays_closed() {
        let schema = Schema::compile(
            &json!({"properties":{"a":{"x-sensitive":true},"b":{"x-sensitive":true}}}),
        )
        .unwrap();
        let (document, secrets) = sealed(json!({"a":1,"b":2,"c":3}), &schema);
        let swapped = BTreeMap::from([
            ("/a".to_owned(), secrets["/b"].clone()),
            ("/b".to_owned(), secrets["/b"].clone()),
        ]);
        let opened = document.open(&swapped).unwrap();
        assert_eq!(opened.value, json!({"a":null,"b":2,"c":3}));
        assert_eq!(
            (opened.at("/a"), opened.at(""), opened.at("/a/x")),
            (Err(RedactedError), Err(RedactedError), Err(RedactedError))
        );
        assert_eq!((opened.at("/c"), opened.at("/b")), (Ok(Some(&json!(3))), Ok(Some(&json!(2)))));
    }

    #[test]
    fn nothing_inside_a_value_is_a_marker() {
        let schema = Schema::compile(&json!({"properties":{"a":{"x-sensitive":true}}})).unwrap();
        for hidden in [
            json!({"$from":"x","v":"secret"}),
            json!({"$sealed":"sha256:00"}),
            json!({"$literal":1}),
            json!(null),
        ] {
            let (document, secrets) = sealed(json!({"a":hidden}), &schema);
            assert_eq!((&document.value, secrets.len()), (&json!({"a":null}), 1));
            assert_eq!(document.open(&secrets).unwrap().value, json!({"a":hidden}));
        }
    }
}
