//! Sign-in by an identity provider from one machine.
//!
//! The feature `oidc` carries what it takes: RSA and elliptic curves, which nobody needs who builds
//! the command to try it.

use engine::ports::{IdentityProvider, NoIdentityProvider};
use std::sync::Arc;

/// The claim with a person's groups where nobody says.
const GROUPS_CLAIM_DEFAULT: &str = "groups";
/// What is asked for beside `openid` where nobody says.
const SCOPE_DEFAULT: &str = "profile";

/// Which identity provider signs people in. None: people sign in with keys.
#[derive(Clone, Default)]
pub struct IdentityOptions {
    /// Its issuer, as it writes it.
    pub issuer: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    /// The claim of the ID token with the groups of a person; `groups`, if absent.
    pub groups_claim: Option<String>,
    /// Scopes beside `openid`; none: `profile`.
    pub scopes: Vec<String>,
    /// One of these is how a person signs in for a second factor.
    pub acr_values: Vec<String>,
}

impl std::fmt::Debug for IdentityOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (issuer, client) = (&self.issuer, &self.client_id);
        f.debug_struct("IdentityOptions").field("issuer", issuer).field("client", client).finish()
    }
}

/// People cannot sign in as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum IdentitySetupError {
    #[cfg(feature = "oidc")]
    #[error("the identity provider: {0}")]
    Options(#[from] oidc::OptionsError),
    #[error(
        "this command was built without sign-in by OpenID Connect: build it by `cargo build \
         --release --features oidc`"
    )]
    NotBuilt,
}

/// What signs people in, and whose issuer that is.
pub(crate) fn provider(
    options: &IdentityOptions,
    allow_private: bool,
) -> Result<(Option<String>, Arc<dyn IdentityProvider>), IdentitySetupError> {
    let Some(issuer) = options.issuer.clone() else {
        return Ok((None, Arc::new(NoIdentityProvider)));
    };
    Ok((Some(issuer.clone()), open_id(options, issuer, allow_private)?))
}

#[cfg(feature = "oidc")]
fn open_id(
    options: &IdentityOptions,
    issuer: String,
    allow_private: bool,
) -> Result<Arc<dyn IdentityProvider>, IdentitySetupError> {
    let (groups, scopes) = (options.groups_claim.clone(), options.scopes.clone());
    let asked = oidc::Options {
        issuer,
        client_id: options.client_id.clone().unwrap_or_default(),
        groups_claim: groups.unwrap_or_else(|| GROUPS_CLAIM_DEFAULT.to_owned()),
        scopes: if scopes.is_empty() { vec![SCOPE_DEFAULT.to_owned()] } else { scopes },
        acr_values: options.acr_values.clone(),
    };
    let secret = Arc::new(oidc::KnownSecret(options.client_secret.clone()));
    Ok(Arc::new(oidc::OpenId::new(asked, secret, allow_private)?))
}

#[cfg(not(feature = "oidc"))]
fn open_id(
    _: &IdentityOptions,
    _: String,
    _: bool,
) -> Result<Arc<dyn IdentityProvider>, IdentitySetupError> {
    let _ = (GROUPS_CLAIM_DEFAULT, SCOPE_DEFAULT);
    Err(IdentitySetupError::NotBuilt)
}
