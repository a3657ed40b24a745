//! Mail from one machine: by a mail server, or, where none is set up, into a folder.

mod folder;
mod smtp;

pub use folder::{KeptMail, MailFolder};

use cs_core::mail::MailAddress;
use engine::ports::Mailer;
use smtp::SmtpMailer;
use std::{path::Path, sync::Arc};

/// Whom mails come from where nobody says.
const SENDER_DEFAULT: &str = "countersign@localhost";
/// The folder of mails in a data folder.
pub const FOLDER: &str = "mail";

/// How mails are sent.
#[derive(Clone, Default)]
pub struct MailOptions {
    /// The mail server: `smtps://user:password@host:port`, or `smtp://`. It holds a password.
    pub smtp_url: Option<String>,
    /// Whom mails come from.
    pub from: Option<String>,
}

impl std::fmt::Debug for MailOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let smtp = self.smtp_url.as_ref().map(|_| "…");
        f.debug_struct("MailOptions").field("smtp_url", &smtp).field("from", &self.from).finish()
    }
}

/// Mail cannot be sent as it was asked for. Quotes nothing: the URL holds a password.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    #[error("COUNTERSIGN_MAIL_FROM is {0}")]
    From(#[from] cs_core::mail::MailAddressError),
    #[error("COUNTERSIGN_MAIL_FROM is missing: a mail server wants to know whom mails come from")]
    NoSender,
    #[error("COUNTERSIGN_SMTP_URL: {0}")]
    Smtp(&'static str),
    #[error("the mail server cannot be set up: {0}")]
    Client(#[from] lettre::transport::smtp::Error),
    #[error("the folder of mails cannot be used: {0}")]
    Folder(#[from] std::io::Error),
}

/// What sends mails as it is asked for.
pub(crate) fn mailer(
    options: &MailOptions,
    data: &Path,
) -> Result<Arc<dyn Mailer>, MailSetupError> {
    let from = options.from.as_deref().map(str::parse::<MailAddress>).transpose()?;
    match &options.smtp_url {
        Some(url) => {
            let from = from.ok_or(MailSetupError::NoSender)?;
            Ok(Arc::new(SmtpMailer::new(url, from)?))
        }
        None => {
            let from = from.map_or_else(|| SENDER_DEFAULT.parse(), Ok)?;
            Ok(Arc::new(MailFolder::open(&data.join(FOLDER), from)?))
        }
    }
}
