//! Sign-in by an identity provider: what the environment says of it, and the client's secret, from
//! Secrets Manager. Read when somebody signs in, and again after a while.

use async_trait::async_trait;
use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use engine::ports::{
    IdentityProvider, ProviderError, ProviderIdentity, SignInBegun, SignInReturned,
};
use oidc::{OpenId, Options, SecretKeeper};
use std::{
    env,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long the secret is kept before it is read again: one that is changed at the provider holds
/// from then on.
const KEPT: Duration = Duration::from_secs(300);

/// The issuer that the environment names (`OIDC_ISSUER`).
pub(crate) fn issuer() -> Option<String> {
    env::var("OIDC_ISSUER").ok().filter(|issuer| !issuer.is_empty())
}

/// The provider that the environment names. The HTTP client reads the machine's certificates: made
/// when somebody signs in.
pub(crate) struct LazyProvider {
    secrets: Client,
    allow_private: bool,
    made: OnceLock<Result<OpenId, String>>,
}

impl LazyProvider {
    pub(crate) fn new(secrets: Client, allow_private: bool) -> Self {
        Self { secrets, allow_private, made: OnceLock::new() }
    }

    fn provider(&self) -> Result<&OpenId, ProviderError> {
        let made = self.made.get_or_init(|| self.make());
        made.as_ref().map_err(|why| ProviderError::Refused(why.clone()))
    }

    fn make(&self) -> Result<OpenId, String> {
        let text = |name: &str| env::var(name).unwrap_or_default();
        let words = |name: &str| text(name).split_whitespace().map(str::to_owned).collect();
        let options = Options {
            issuer: issuer().ok_or("none is set up here")?,
            client_id: text("OIDC_CLIENT_ID"),
            groups_claim: text("OIDC_GROUPS_CLAIM"),
            scopes: words("OIDC_SCOPES"),
            acr_values: words("OIDC_ACR_VALUES"),
        };
        let secret = ManagedSecret {
            client: self.secrets.clone(),
            arn: text("OIDC_CLIENT_SECRET_ARN"),
            kept: Mutex::default(),
        };
        OpenId::new(options, Arc::new(secret), self.allow_private).map_err(|why| why.to_string())
    }
}

#[async_trait]
impl IdentityProvider for LazyProvider {
    async fn begin(&self, begun: SignInBegun) -> Result<String, ProviderError> {
        self.provider()?.begin(begun).await
    }
    async fn finish(&self, returned: SignInReturned) -> Result<ProviderIdentity, ProviderError> {
        self.provider()?.finish(returned).await
    }
}

/// The secret of an ARN; none where there is no ARN.
struct ManagedSecret {
    client: Client,
    arn: String,
    kept: Mutex<Option<(Instant, String)>>,
}

#[async_trait]
impl SecretKeeper for ManagedSecret {
    async fn secret(&self) -> Result<Option<String>, String> {
        if self.arn.is_empty() {
            return Ok(None);
        }
        let mut kept = self.kept.lock().await;
        if let Some((_, secret)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(Some(secret.clone()));
        }
        let request = self.client.get_secret_value().secret_id(&self.arn);
        let out = request.send().await.map_err(|error| {
            let error = error.into_service_error();
            let code = error.code().unwrap_or("no answer");
            tracing::error!(
                %code, message = error.message().unwrap_or_default(),
                "the secret of the identity provider's client cannot be read"
            );
            "the client's secret cannot be read; the log says why".to_owned()
        })?;
        let secret = out.secret_string().unwrap_or_default().trim().to_owned();
        if secret.is_empty() {
            return Err("the client's secret has no value".into());
        }
        *kept = Some((Instant::now(), secret.clone()));
        Ok(Some(secret))
    }
}
