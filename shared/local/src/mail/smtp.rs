//! Mails by SMTP (RFC 5321), each over a connection of its own.

use super::MailSetupError;
use async_trait::async_trait;
use cs_core::mail::MailAddress;
use engine::ports::{Mail, MailError, Mailer};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    address::Envelope,
    transport::smtp::{Error as SmtpError, authentication::Credentials},
};
use std::time::Duration;
use url::{Host, Url};

/// Longest wait for one word of the server.
const WORD: Duration = Duration::from_secs(10);

/// A mail server.
pub(super) struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: MailAddress,
}

impl SmtpMailer {
    /// By its URL: `smtps` speaks TLS from the beginning, `smtp` after STARTTLS and not otherwise.
    /// INVARIANT (fail-closed): without TLS only on this machine.
    pub(super) fn new(url: &str, from: MailAddress) -> Result<Self, MailSetupError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = Url::parse(url).map_err(|_| MailSetupError::Smtp("not a URL"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(MailSetupError::Smtp("it names no host"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            let why = "a host, a port, a user and a password; nothing behind them";
            return Err(MailSetupError::Smtp(why));
        }
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        let mut builder = match url.scheme() {
            "smtps" => Transport::relay(host)?,
            "smtp" if is_loopback(&url) => Transport::builder_dangerous(host),
            "smtp" => Transport::starttls_relay(host)?,
            _ => return Err(MailSetupError::Smtp("it begins with `smtps://` or `smtp://`")),
        };
        if let Some(port) = url.port() {
            builder = builder.port(port);
        }
        if !url.username().is_empty() {
            let password = url.password().unwrap_or_default();
            let credentials = Credentials::new(plain(url.username())?, plain(password)?);
            builder = builder.credentials(credentials);
        }
        Ok(Self { transport: builder.timeout(Some(WORD)).build(), from })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // Not a special scheme: the parser leaves an address of digits as a name.
        Some(Host::Domain(name)) => {
            name == "localhost"
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

// A part of a URL without its escapes.
fn plain(text: &str) -> Result<String, MailSetupError> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| MailSetupError::Smtp("an escape in it is no text"))
}

#[async_trait]
impl Mailer for SmtpMailer {
    fn sender(&self) -> Option<&MailAddress> {
        Some(&self.from)
    }

    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let address = |address: &MailAddress| {
            let parsed = address.as_str().parse::<Address>();
            parsed.map_err(|error| MailError::Refused(error.to_string()))
        };
        let envelope = Envelope::new(Some(address(&self.from)?), vec![address(&mail.to)?])
            .map_err(|error| MailError::Refused(error.to_string()))?;
        let sent = self.transport.send_raw(&envelope, &mail.message);
        match tokio::time::timeout(Duration::from_millis(mail.timeout_ms), sent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(MailError::Deferred("no answer in time".into())),
        }
    }
}

// RFC 5321, 4.2.1: 4xx may be taken later, 5xx never. One that speaks of who we are is no word on
// the mail: 530 to 539 are those of authentication and encryption.
fn failed(error: &SmtpError) -> MailError {
    let code = error.status().map(|code| code.to_string());
    let why = match &code {
        Some(code) => format!("it answered {code}"),
        None => error.to_string(),
    };
    match code.as_deref() {
        Some(code) if error.is_permanent() && !code.starts_with("53") => MailError::Refused(why),
        Some(_) => MailError::Deferred(why),
        None => MailError::Unreached(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_on_this_machine_and_no_error_quotes_the_password() {
        let from: MailAddress = "countersign@example.com".parse().unwrap();
        for good in [
            "smtps://ada:p%40ss@mail.example.com",
            "smtps://mail.example.com:465",
            "smtp://ada:secret@mail.example.com:587",
            "smtp://127.0.0.1:1025",
            "smtp://[::1]:1025",
            "smtp://localhost:1025/",
        ] {
            assert!(SmtpMailer::new(good, from.clone()).is_ok(), "{good}");
        }
        for bad in [
            "mail.example.com",
            "http://ada:secret@mail.example.com",
            "smtp://",
            "smtp://ada:secret@mail.example.com?tls=none",
            "smtp://ada:secret@mail.example.com/path",
            "smtp://ada:secret%ff@mail.example.com",
        ] {
            let refused = SmtpMailer::new(bad, from.clone()).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|why| !why.contains("secret")), "{bad}");
        }
        let is = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is("smtp://127.0.0.1:25") && is("smtp://[::1]") && is("smtp://localhost"));
        for other in ["smtp://127.0.0.1.example.com", "smtp://10.0.0.1", "smtp://localhost.x.org"] {
            assert!(!is(other), "{other}");
        }
    }
}
