//! A letter, and how it is written down: plain text and HTML that say the same (RFC 2046,
//! multipart/alternative).
//!
//! Foreign text comes into a subject and into both parts through [`cs_core::text`] only, so that it
//! holds no line break and nothing hidden; headers are encoded by the library, HTML by the
//! template.

use crate::SendError;
use contracts::{Digest, Timestamp};
use cs_core::{mail::MailAddress, text::cell_foreign};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use std::time::{Duration, SystemTime};

/// Whom people see as the sender, before its address.
const SENDER: &str = "Countersign";
/// Columns of a subject.
const SUBJECT_COLUMNS: usize = 120;
/// Digits of a letter's name in its headers.
const NAME_DIGITS: usize = 32;

/// What is written to somebody.
pub(crate) struct Letter {
    /// Foreign text in it need not be escaped.
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    /// The same letter has the same name at every try.
    pub(crate) name: Digest,
}

impl Letter {
    /// The message with its headers.
    pub(crate) fn encode(
        &self,
        from: &MailAddress,
        to: &MailAddress,
        now: Timestamp,
    ) -> Result<Vec<u8>, SendError> {
        let name = self.name.hex().get(..NAME_DIGITS).unwrap_or_default();
        let message = Message::builder()
            .from(Mailbox::new(Some(SENDER.into()), address(from)?))
            .to(Mailbox::new(None, address(to)?))
            .subject(cell_foreign(&self.subject, SUBJECT_COLUMNS))
            .message_id(Some(format!("<{name}@{}>", from.domain())))
            .date(moment(now))
            // Nobody's absence answers to it (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"))
            .raw_header(header("Idempotency-Key", name))
            .multipart(MultiPart::alternative_plain_html(self.text.clone(), self.html.clone()));
        Ok(message.map_err(unwritten)?.formatted())
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn address(address: &MailAddress) -> Result<Address, SendError> {
    address.as_str().parse().map_err(unwritten)
}

fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.ms()).unwrap_or_default())
}

/// A letter that cannot be written now cannot be written later.
pub(crate) fn unwritten(error: impl std::fmt::Display) -> SendError {
    SendError::Gone(format!("the mail cannot be written: {error}"))
}
