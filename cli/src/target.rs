//! Which control plane, and with which key. Precedence: `--profile`; then COUNTERSIGN_API_KEY; then
//! COUNTERSIGN_PROFILE; then the default profile. A profile's key goes to its own endpoint only.

use crate::{
    error::CliError,
    profile::{Profile, Profiles},
};
use clap::Args;

/// Where `countersign dev` listens unless it is told otherwise.
pub const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7411";

/// Whom to talk to, and how to print.
#[derive(Args, Clone)]
pub struct Target {
    /// A profile that `login` or `dev` made; else COUNTERSIGN_API_KEY, COUNTERSIGN_PROFILE or the
    /// default profile.
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// URL of the control plane; else COUNTERSIGN_URL, or that of the profile.
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    // Taken to say what to do instead: arguments are seen by everybody on the machine.
    #[arg(long, global = true, hide = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Print JSON for machines.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print identifiers in full.
    #[arg(long, global = true)]
    pub wide: bool,
}

/// What the environment says.
#[derive(Default)]
pub struct Environment {
    pub url: Option<String>,
    pub api_key: Option<String>,
    pub profile: Option<String>,
    /// Of `dev`: the mail server, and whom mails come from.
    pub smtp_url: Option<String>,
    pub mail_from: Option<String>,
    /// Of `dev`: what it shows to the identity provider.
    pub oidc_client_secret: Option<String>,
}

impl Environment {
    /// Of this process. What is empty is not said.
    pub fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
        Self {
            url: variable("COUNTERSIGN_URL"),
            api_key: variable("COUNTERSIGN_API_KEY"),
            profile: variable("COUNTERSIGN_PROFILE"),
            smtp_url: variable("COUNTERSIGN_SMTP_URL"),
            mail_from: variable("COUNTERSIGN_MAIL_FROM"),
            oidc_client_secret: variable("COUNTERSIGN_OIDC_CLIENT_SECRET"),
        }
    }
}

/// A control plane and a key for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    pub endpoint: String,
    /// Empty: none is known.
    pub key: String,
}

impl Target {
    /// Refuses a key among the arguments.
    pub fn check(&self) -> Result<(), CliError> {
        match &self.key {
            None => Ok(()),
            Some(_) => Err(CliError::Local(
                "a key among the arguments is seen by everybody on this machine: `countersign \
                 login` keeps it in a profile, and COUNTERSIGN_API_KEY hands it over"
                    .into(),
            )),
        }
    }

    /// Where to call, and with which key.
    pub fn access(&self) -> Result<Access, CliError> {
        self.access_of(Environment::read(), Profiles::load)
    }

    fn access_of(
        &self,
        environment: Environment,
        profiles: impl FnOnce() -> Result<Profiles, CliError>,
    ) -> Result<Access, CliError> {
        let anywhere = || {
            let url = self.endpoint.clone().or(environment.url.clone());
            url.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned())
        };
        if let (None, Some(key)) = (&self.profile, &environment.api_key) {
            return Ok(Access { endpoint: anywhere(), key: key.clone() });
        }
        let profiles = profiles()?;
        let named = self.profile.as_ref().or(environment.profile.as_ref());
        let Some(name) = named.or(profiles.default.as_ref()) else {
            return Ok(Access { endpoint: anywhere(), key: String::new() });
        };
        let profile = profiles.profiles.get(name).ok_or_else(|| unknown(name, &profiles))?;
        // Who names a profile means its endpoint, whatever the environment says of others.
        let said = match (&self.endpoint, &self.profile) {
            (Some(endpoint), _) => Some(endpoint),
            (None, None) => environment.url.as_ref(),
            (None, Some(_)) => None,
        };
        at_home(name, profile, said.map(String::as_str))
    }
}

// INVARIANT (fail-closed): a profile's key goes nowhere but to its own endpoint.
fn at_home(name: &str, profile: &Profile, said: Option<&str>) -> Result<Access, CliError> {
    let home = profile.endpoint.trim_end_matches('/');
    match said {
        Some(other) if other.trim_end_matches('/') != home => Err(CliError::Local(format!(
            "profile `{name}` is for {home}, and its key is not sent to {other}: name another \
             profile, or set COUNTERSIGN_API_KEY"
        ))),
        Some(_) | None => Ok(Access { endpoint: home.to_owned(), key: profile.key.clone() }),
    }
}

/// There is no such profile.
pub fn unknown(name: &str, profiles: &Profiles) -> CliError {
    let near = contracts::names::did_you_mean(name, profiles.profiles.keys().map(String::as_str));
    CliError::Local(format!(
        "there is no profile `{name}`{near}: `countersign profile list` shows them, `countersign \
         login --profile {name}` makes it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> Result<Profiles, CliError> {
        let mut profiles = Profiles { default: Some("agent".into()), ..Profiles::default() };
        for (name, port) in [("agent", 1), ("approver", 2)] {
            let profile = Profile {
                endpoint: format!("http://127.0.0.1:{port}"),
                key: format!("csk_{name}"),
                dev: None,
            };
            profiles.profiles.insert(name.into(), profile);
        }
        Ok(profiles)
    }

    fn access(
        [profile, endpoint]: [&str; 2],
        [url, key, named]: [&str; 3],
    ) -> Result<Access, CliError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let target = Target {
            profile: some(profile),
            endpoint: some(endpoint),
            key: None,
            json: false,
            wide: false,
        };
        let environment = Environment {
            url: some(url),
            api_key: some(key),
            profile: some(named),
            ..Environment::default()
        };
        target.access_of(environment, profiles)
    }

    #[track_caller]
    fn is(arguments: [&str; 2], environment: [&str; 3], key: &str, endpoint: &str) {
        let access = access(arguments, environment).unwrap();
        assert_eq!((access.key.as_str(), access.endpoint.as_str()), (key, endpoint));
    }

    #[test]
    fn what_is_said_nearer_wins() {
        let (one, two) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
        is(["", ""], ["", "", ""], "csk_agent", one);
        is(["", ""], ["", "", "approver"], "csk_approver", two);
        is(["", ""], ["", "csk_env", "approver"], "csk_env", ENDPOINT_DEFAULT);
        is(["", ""], [two, "csk_env", ""], "csk_env", two);
        is(["", one], [two, "csk_env", ""], "csk_env", one);
        is(["approver", ""], [one, "csk_env", "agent"], "csk_approver", two);
        is(["", "http://127.0.0.1:1/"], ["", "", ""], "csk_agent", one);
    }

    #[test]
    fn a_profiles_key_is_sent_to_its_own_endpoint_only() {
        for (arguments, environment) in [
            (["", "https://evil.example"], ["", "", ""]),
            (["agent", "https://evil.example"], ["", "", ""]),
            (["", ""], ["https://evil.example", "", ""]),
            (["", ""], ["https://evil.example", "", "approver"]),
        ] {
            let error = access(arguments, environment).unwrap_err().to_string();
            assert!(error.contains("not sent") && !error.contains("csk_"), "{error}");
        }
        let error = access(["aprover", ""], ["", "", ""]).unwrap_err().to_string();
        assert!(error.contains("did you mean `approver`"), "{error}");
    }
}
