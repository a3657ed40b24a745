//! Where stage events go. What a subscription says is read here, once, and in one way.

use crate::{
    mail::{MailAddress, MailAddressError},
    target,
};

/// Scheme of mail addresses (RFC 6068).
const MAIL: &str = "mailto:";
/// Scheme of Slack: ours.
const SLACK: &str = "slack:";
/// Each person who may decide.
const PEOPLE: &str = "@people";

/// Where stage events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A URL that takes them.
    Webhook { url: String },
    /// A mail address: `mailto:ada@example.com`.
    Mail(MailAddress),
    /// The people of the workspace, each of what waits for them. Every workspace has this one; no
    /// subscription says it.
    People,
    /// Slack, by a channel of the workspace: `slack:support/C024BE91L`, `slack:support/@people`.
    Slack { channel_key: String, recipients: SlackRecipients },
    /// The threads that messages of a channel come from. Every channel that replies has this one;
    /// no subscription says it.
    Reply { channel_key: String },
}

/// Whom a message in Slack is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlackRecipients {
    /// A channel of Slack, by its id.
    Channel(String),
    /// Each person of the directory who may decide, by direct message.
    People,
}

impl Destination {
    /// Reads a destination; else says what is wrong with it. `plain_http`: URLs may be `http`.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix(MAIL) {
            // What stands behind a `?` would be headers of a mail.
            let wrong =
                |error: MailAddressError| format!("`{MAIL}` and {error}; escapes are not read");
            return address.parse().map(Self::Mail).map_err(wrong);
        }
        if let Some(rest) = text.strip_prefix(SLACK) {
            return slack(rest).ok_or_else(|| {
                format!(
                    "`{SLACK}`, the key of a channel, `/`, and the id of a channel of Slack or \
                     `{PEOPLE}`"
                )
            });
        }
        match target::problem(text, plain_http) {
            Some(why) => Err(format!("{why}, or `{MAIL}` and a mail address")),
            None => Ok(Self::Webhook { url: text.to_owned() }),
        }
    }

    /// What evidence says of it: of a URL scheme, host and port, for its path may be a secret.
    pub fn origin(&self) -> String {
        match self {
            Self::Mail(address) => format!("{MAIL}{address}"),
            Self::People => "people".to_owned(),
            Self::Reply { channel_key } => format!("reply:{channel_key}"),
            Self::Slack { channel_key, recipients } => match recipients {
                SlackRecipients::Channel(id) => format!("{SLACK}{channel_key}/{id}"),
                SlackRecipients::People => format!("{SLACK}{channel_key}/{PEOPLE}"),
            },
            Self::Webhook { url } => {
                let (scheme, rest) = url.split_once("://").unwrap_or_default();
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}")
            }
        }
    }
}

fn slack(text: &str) -> Option<Destination> {
    let (key, to) = text.split_once('/')?;
    let key_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let id_letter = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let recipients = match to {
        PEOPLE => SlackRecipients::People,
        id if (2..=32).contains(&id.len()) && id.bytes().all(id_letter) => {
            SlackRecipients::Channel(id.to_owned())
        }
        _ => return None,
    };
    let known = (1..=40).contains(&key.len()) && key.bytes().all(key_letter);
    known.then(|| Destination::Slack { channel_key: key.to_owned(), recipients })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_is_a_channel_of_the_workspace_and_whom_it_is_for() {
        for good in ["slack:support/C024BE91L", "slack:a-1/@people"] {
            assert_eq!(Destination::parse(good, false).unwrap().origin(), good);
        }
        for bad in [
            "slack:",
            "slack:support",
            "slack:/C1",
            "slack:support/",
            "slack:support/c1",
            "slack:support/@channel",
            "slack:support/C1/C2",
            "slack:Support/C1",
            "slack:support/C1?x",
        ] {
            assert!(Destination::parse(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn attack_a_mail_target_that_is_more_than_an_address() {
        let mail = Destination::parse("mailto:ada@example.com", false).unwrap();
        assert_eq!(mail, Destination::Mail("ada@example.com".parse().unwrap()));
        assert_eq!(mail.origin(), "mailto:ada@example.com");
        for bad in [
            "mailto:",
            "mailto:ada@example.com?subject=x",
            "mailto:ada@example.com?bcc=eve@example.com",
            "mailto:ada@example.com,eve@example.com",
            "mailto:ada%40example.com",
            "mailto:ada@example.com%0d%0aBcc:eve@example.com",
            "mailto:ada@example.com\r\nBcc: eve@example.com",
            "mailto://ada@example.com",
            "MAILTO:ada@example.com",
            " mailto:ada@example.com",
            "mailto: ada@example.com",
            "mailto:<ada@example.com>",
        ] {
            let refused = Destination::parse(bad, true);
            assert!(refused.is_err_and(|why| why.contains("mail")), "{bad}");
        }
    }

    #[test]
    fn what_evidence_says_of_a_url_is_no_secret() {
        let url = "https://hooks.example:8443/secret?token=1";
        let webhook = Destination::parse(url, false).unwrap();
        assert_eq!(webhook, Destination::Webhook { url: url.to_owned() });
        assert_eq!(webhook.origin(), "https://hooks.example:8443");
        assert!(Destination::parse("http://hooks.example/", false).is_err());
        assert!(Destination::parse("http://hooks.example/", true).is_ok());
    }
}
