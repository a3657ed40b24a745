//! Signs people in by OpenID Connect: the port [`IdentityProvider`] over the crate `openidconnect`,
//! which knows the protocol, and the HTTP client that calls tools, which knows where to call.
//!
//! Only tokens that the provider signed with a key of its own are believed: neither unsigned ones
//! nor those that are signed with the client's secret.

mod claims;
mod http;
mod known;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use claims::{Further, OidcClient, TokenResponse};
use contracts::limits::{PROVIDER_ANSWER_MS_MAX, SIGN_IN_CALLS_MS_MAX};
use countersign_tools::Outbound;
use engine::ports::{
    IdentityProvider, ProviderError, ProviderIdentity, SignInBegun, SignInReturned,
};
use http::{HttpError, OutboundHttp};
use known::{Age, Known};
use openidconnect::{
    AuthType, AuthenticationContextClass, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, CsrfToken, DiscoveryError, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, TokenResponse as _,
    core::{
        CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
        CoreJwsSigningAlgorithm, CoreProviderMetadata,
    },
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use url::{Host, Url};

/// How long what a provider says of itself is kept before it is asked again.
const KEPT: Age = Age { kept: Duration::from_secs(600), or_older: false };
/// For leading a browser to it, older will do.
const KEPT_OR_OLDER: Age = Age { or_older: true, ..KEPT };
/// Keys that are not known are asked for no more often than this.
const ASKED_AGAIN: Age = Age { kept: Duration::from_secs(10), or_older: false };
/// What signs tokens that are believed: keys that only the provider has.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Keeper of the client's secret.
#[async_trait]
pub trait SecretKeeper: Send + Sync {
    /// The secret; none: a public client, which PKCE protects alone.
    async fn secret(&self) -> Result<Option<String>, String>;
}

/// A secret that is at hand.
pub struct KnownSecret(pub Option<String>);

#[async_trait]
impl SecretKeeper for KnownSecret {
    async fn secret(&self) -> Result<Option<String>, String> {
        Ok(self.0.clone())
    }
}

/// Which provider, and what is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Its issuer, as it writes it.
    pub issuer: String,
    pub client_id: String,
    /// The claim of the ID token with the groups of a person.
    pub groups_claim: String,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// One of these is how a person signs in for a second factor; none: as the provider likes.
    pub acr_values: Vec<String>,
}

/// Why a provider cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("the issuer is an https URL without query and fragment (http on this machine): {0}")]
    Issuer(String),
    #[error("an identity provider needs the id that it knows this deployment by (client id)")]
    ClientId,
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A provider.
pub struct OpenId {
    options: Options,
    secret: Arc<dyn SecretKeeper>,
    http: OutboundHttp,
    known: Known<CoreProviderMetadata>,
}

impl OpenId {
    /// A provider. Nothing is called before it is used.
    pub fn new(
        options: Options,
        secret: Arc<dyn SecretKeeper>,
        allow_private: bool,
    ) -> Result<Self, OptionsError> {
        let invalid = |why: String| OptionsError::Issuer(why);
        let url = Url::parse(&options.issuer).map_err(|error| invalid(error.to_string()))?;
        if !is_secure(&url, allow_private) || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(options.issuer));
        }
        if options.client_id.is_empty() {
            return Err(OptionsError::ClientId);
        }
        let http = OutboundHttp { outbound: Outbound::new()?, allow_private };
        Ok(Self { options, secret, http, known: Known::default() })
    }

    // What the provider says of itself, with its keys.
    async fn metadata(&self, age: Age) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        self.known.get(age, Instant::now, async || in_time(ANSWER, self.discover()).await).await
    }

    async fn discover(&self) -> Result<CoreProviderMetadata, ProviderError> {
        let issuer = IssuerUrl::new(self.options.issuer.clone()).map_err(untrusted)?;
        let found = CoreProviderMetadata::discover_async(issuer, &self.http).await;
        let found = found.map_err(undiscovered)?;
        self.check(&found)?;
        Ok(found)
    }

    // INVARIANT (fail-closed): neither people nor codes are sent over what others read.
    fn check(&self, found: &CoreProviderMetadata) -> Result<(), ProviderError> {
        let token = found.token_endpoint().map(|token| token.url());
        let token = token.ok_or_else(|| untrusted("it names no token endpoint"))?;
        for url in [found.authorization_endpoint().url(), found.jwks_uri().url(), token] {
            if !is_secure(url, self.http.allow_private) {
                return Err(untrusted(format!("`{url}` is not https")));
            }
        }
        Ok(())
    }

    async fn client(
        &self,
        found: &CoreProviderMetadata,
        redirect_uri: &str,
    ) -> Result<OidcClient, ProviderError> {
        let secret = self.secret.secret().await.map_err(ProviderError::Unreached)?;
        let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(untrusted)?;
        let id = ClientId::new(self.options.client_id.clone());
        let client =
            OidcClient::from_provider_metadata(found.clone(), id, secret.map(ClientSecret::new));
        Ok(client.set_auth_type(authentication(found)).set_redirect_uri(redirect))
    }

    // Who a token names. Its signature, issuer, audience, expiry and nonce are looked at by the
    // library; when and how the person proved who they are, where that was asked for.
    fn identity(
        &self,
        client: &OidcClient,
        answer: &TokenResponse,
        returned: &SignInReturned,
    ) -> Result<ProviderIdentity, ClaimsVerificationError> {
        let now = DateTime::<Utc>::from_timestamp_millis(returned.now.ms()).unwrap_or_default();
        let since = returned.fresh_since.map(|since| since.ms().div_euclid(1_000));
        let wanted = &self.options.acr_values;
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || now)
            .set_auth_time_verifier_fn(move |at| match (since, at) {
                (None, _) => Ok(()),
                (Some(since), Some(at)) if at.timestamp() >= since => Ok(()),
                (Some(_), Some(_)) => Err("the person signed in before they were asked to".into()),
                (Some(_), None) => Err("it does not say when the person signed in".into()),
            })
            .set_auth_context_verifier_fn(move |acr: Option<&AuthenticationContextClass>| {
                let said = acr.map(|acr| acr.as_str()).unwrap_or_default();
                if since.is_none() || wanted.is_empty() || wanted.iter().any(|one| one == said) {
                    return Ok(());
                }
                Err("the person did not sign in in the way that was asked for".into())
            });
        let token = answer.id_token();
        let token = token.ok_or_else(|| ClaimsVerificationError::Other("no ID token".into()))?;
        let claims = token.claims(&verifier, &Nonce::new(returned.nonce.clone()))?;
        let name = claims.name().and_then(|name| name.get(None));
        let groups = Further::groups(claims.additional_claims(), &self.options.groups_claim);
        Ok(ProviderIdentity {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            name: name.map(|name| name.as_str().to_owned()),
            groups: groups.map_err(ClaimsVerificationError::Other)?,
        })
    }

    // A code for a token, and who it names.
    async fn exchange(&self, returned: SignInReturned) -> Result<ProviderIdentity, ProviderError> {
        let mut found = self.metadata(KEPT).await?;
        let client = self.client(&found, &returned.redirect_uri).await?;
        let code = AuthorizationCode::new(returned.code.clone());
        let verifier = PkceCodeVerifier::new(returned.verifier.clone());
        let answer = client
            .exchange_code(code)
            .map_err(untrusted)?
            .set_pkce_verifier(verifier)
            .request_async(&self.http)
            .await
            .map_err(unexchanged)?;
        let identity = match self.identity(&client, &answer, &returned) {
            Err(error) if is_of_unknown_key(&error) => {
                // The provider may have another key since.
                found = self.metadata(ASKED_AGAIN).await?;
                let client = self.client(&found, &returned.redirect_uri).await?;
                self.identity(&client, &answer, &returned)
            }
            said => said,
        };
        identity.map_err(|error| untrusted(explained(&error)))
    }
}

#[async_trait]
impl IdentityProvider for OpenId {
    async fn begin(&self, begun: SignInBegun) -> Result<String, ProviderError> {
        let found = self.metadata(KEPT_OR_OLDER).await?;
        let client = self.client(&found, &begun.redirect_uri).await?;
        let verifier = PkceCodeVerifier::new(begun.verifier);
        let (state, nonce) = (CsrfToken::new(begun.state), Nonce::new(begun.nonce));
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, move || state, move || nonce)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for scope in &self.options.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        if begun.fresh {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
            for acr in &self.options.acr_values {
                let acr = AuthenticationContextClass::new(acr.clone());
                request = request.add_auth_context_value(acr);
            }
        }
        Ok(request.url().0.into())
    }

    async fn finish(&self, returned: SignInReturned) -> Result<ProviderIdentity, ProviderError> {
        in_time(SIGN_IN, self.exchange(returned)).await
    }
}

// INVARIANT (bounded-work): several calls have one deadline.
async fn in_time<T>(
    limit: Duration,
    calls: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let late = |_| ProviderError::Unreached("its answers took too long".into());
    timeout(limit, calls).await.map_err(late)?
}

// In the clear only where nobody reads along: on this machine.
fn is_secure(url: &Url, allow_private: bool) -> bool {
    let own = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (allow_private && own && url.scheme() == "http")
}

// As the provider takes the client's secret; where it does not say, in the header (OpenID Connect
// Discovery 1.0, 3).
fn authentication(found: &CoreProviderMetadata) -> AuthType {
    let takes = found.token_endpoint_auth_methods_supported();
    let has = |method: CoreClientAuthMethod| takes.is_some_and(|methods| methods.contains(&method));
    let in_body = has(CoreClientAuthMethod::ClientSecretPost);
    match takes.is_none() || has(CoreClientAuthMethod::ClientSecretBasic) || !in_body {
        true => AuthType::BasicAuth,
        false => AuthType::RequestBody,
    }
}

fn is_of_unknown_key(error: &ClaimsVerificationError) -> bool {
    let unknown = SignatureVerificationError::NoMatchingKey;
    matches!(error, ClaimsVerificationError::SignatureVerification(why) if *why == unknown)
}

// With its cause, which says what is wrong with a signature.
fn explained(error: &ClaimsVerificationError) -> String {
    match error {
        ClaimsVerificationError::SignatureVerification(why) => format!("{error}: {why}"),
        other => other.to_string(),
    }
}

fn untrusted(why: impl ToString) -> ProviderError {
    ProviderError::Untrusted(why.to_string())
}

fn undiscovered(error: DiscoveryError<HttpError>) -> ProviderError {
    match error {
        DiscoveryError::Request(why) => ProviderError::Unreached(why.to_string()),
        DiscoveryError::Response(status, _, _) if status.is_server_error() => {
            ProviderError::Unreached(format!("it answers {status}"))
        }
        other => untrusted(other),
    }
}

type TokenError =
    RequestTokenError<HttpError, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

fn unexchanged(error: TokenError) -> ProviderError {
    match error {
        RequestTokenError::Request(why) => ProviderError::Unreached(why.to_string()),
        RequestTokenError::ServerResponse(said) => {
            ProviderError::Refused(format!("it says `{}`", said.error().as_ref()))
        }
        RequestTokenError::Parse(_, _) => untrusted("its answer to the code cannot be read"),
        RequestTokenError::Other(why) => untrusted(why),
    }
}

/// Longest wait for an answer.
pub(crate) const ANSWER: Duration = Duration::from_millis(PROVIDER_ANSWER_MS_MAX);
/// Longest wait for all answers of a sign-in.
const SIGN_IN: Duration = Duration::from_millis(SIGN_IN_CALLS_MS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn attack_a_provider_that_answers_each_call_late() {
        let calls = std::future::pending::<Result<(), ProviderError>>();
        let late = in_time(Duration::from_millis(1), calls).await;
        assert!(matches!(late, Err(ProviderError::Unreached(_))));
        assert!(ANSWER < SIGN_IN && SIGN_IN < 2 * ANSWER);
    }

    #[test]
    fn fail_closed_a_provider_is_called_over_https_or_on_this_machine() {
        let secure = |url: &str, private| is_secure(&Url::parse(url).unwrap(), private);
        assert!(secure("https://login.example.com", false));
        assert!(secure("http://127.0.0.1:5556/dex", true) && secure("http://[::1]:1", true));
        for url in ["http://login.example.com", "http://10.0.0.1", "ftp://127.0.0.1"] {
            assert!(!secure(url, true), "{url}");
        }
        assert!(!secure("http://127.0.0.1:5556/dex", false));
        let made = |issuer: &str, client: &str| {
            let options =
                Options { issuer: issuer.into(), client_id: client.into(), ..Options::default() };
            OpenId::new(options, Arc::new(KnownSecret(None)), false).is_ok()
        };
        assert!(made("https://login.example.com/realm", "countersign"));
        assert!(!made("https://login.example.com", "") && !made("login.example.com", "x"));
        assert!(!made("https://login.example.com/?a=b", "x"));
    }
}
