//! The types of `openidconnect` with one claim more: the groups of a person.

use contracts::limits::{GROUP_CLAIM_BYTES_MAX, GROUP_CLAIMS_MAX};
use openidconnect::{
    AdditionalClaims, Client, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IdTokenFields, StandardErrorResponse, StandardTokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
        CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The claims that OpenID Connect does not name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Further {
    #[serde(flatten)]
    all: BTreeMap<String, Value>,
}

impl AdditionalClaims for Further {}

impl Further {
    /// The values of a claim: a text, or a list of texts. INVARIANT (fail-closed): what is absent
    /// is none, and what cannot be read is an error.
    pub(crate) fn groups(&self, claim: &str) -> Result<BTreeSet<String>, String> {
        let unreadable = || format!("its claim `{claim}` is no list of texts");
        let values = match self.all.get(claim) {
            None | Some(Value::Null) => return Ok(BTreeSet::new()),
            Some(Value::String(one)) => return Ok([one.clone()].into()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(unreadable()),
        };
        if values.len() > GROUP_CLAIMS_MAX {
            return Err(format!("its claim `{claim}` has more than {GROUP_CLAIMS_MAX} values"));
        }
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(unreadable);
        let values: Result<BTreeSet<String>, String> = values.iter().map(text).collect();
        // A longer one is no group's here.
        values.map(|mut values| {
            values.retain(|value| value.len() <= GROUP_CLAIM_BYTES_MAX);
            values
        })
    }
}

type Fields = IdTokenFields<
    Further,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// What a code is exchanged for.
pub(crate) type TokenResponse = StandardTokenResponse<Fields, CoreTokenType>;

/// A client that knows where its provider is.
pub(crate) type OidcClient = Client<
    Further,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenResponse,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fail_closed_a_groups_claim_that_cannot_be_read_is_an_error() {
        let groups = |value: Value| {
            let further: Further = serde_json::from_value(json!({ "groups": value })).unwrap();
            further.groups("groups")
        };
        assert_eq!(groups(json!(["a", "b"])).unwrap().len(), 2);
        assert_eq!(groups(json!("a")).unwrap().len(), 1);
        assert_eq!(groups(Value::Null).unwrap().len(), 0);
        assert!(groups(json!({ "a": true })).is_err() && groups(json!(["a", 1])).is_err());
        assert!(groups(json!(vec!["a"; GROUP_CLAIMS_MAX + 1])).is_err());
        assert_eq!(groups(json!(["a".repeat(300)])).unwrap().len(), 0);
    }
}
