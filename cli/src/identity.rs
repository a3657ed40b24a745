//! Which identity provider signs people in to `countersign dev`.

use crate::error::CliError;
use clap::Args;
use local::identity::IdentityOptions;
use std::{fs, path::PathBuf};

#[derive(Args)]
pub struct IdentityArgs {
    /// Let people sign in to the console by this OpenID Connect provider: its issuer. The client's
    /// secret is COUNTERSIGN_OIDC_CLIENT_SECRET, or in a file.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<String>,
    /// The id that the provider knows this deployment by.
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// A file with the client's secret.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// The claim of the ID token with a person's groups; `groups`, if absent.
    #[arg(long, value_name = "NAME", requires = "oidc_issuer")]
    oidc_groups_claim: Option<String>,
    /// A scope to ask for beside `openid`; may be given several times; `profile`, if absent.
    #[arg(long = "oidc-scope", value_name = "SCOPE", requires = "oidc_issuer")]
    oidc_scopes: Vec<String>,
    /// How people sign in for a second factor (`acr`); may be given several times.
    #[arg(long = "oidc-acr", value_name = "VALUE", requires = "oidc_issuer")]
    oidc_acr_values: Vec<String>,
}

impl IdentityArgs {
    /// With the secret, which is no argument, for others could read that.
    pub fn options(self, secret: Option<String>) -> Result<IdentityOptions, CliError> {
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()));
            text.map(|text| text.trim().to_owned()).map_err(CliError::Local)
        };
        let file = self.oidc_client_secret_file.map(read).transpose()?;
        Ok(IdentityOptions {
            issuer: self.oidc_issuer,
            client_id: self.oidc_client_id,
            client_secret: file.or(secret).filter(|secret| !secret.is_empty()),
            groups_claim: self.oidc_groups_claim,
            scopes: self.oidc_scopes,
            acr_values: self.oidc_acr_values,
        })
    }
}
