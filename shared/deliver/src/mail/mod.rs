//! Mail: stage events to an address, one mail for each.

mod event;
mod letter;

pub(crate) use letter::{Letter, unwritten};

use crate::{Channel, SendError};
use async_trait::async_trait;
use contracts::{event::CloudEvent, limits::MESSAGE_BYTES_MAX, text::clip};
use cs_core::{destination::Destination, mail::MailAddress};
use engine::{
    Engine, Target,
    ports::{Mail, MailError},
};
use std::sync::Arc;

/// Sends mails.
pub struct MailChannel {
    engine: Arc<Engine>,
}

impl MailChannel {
    /// Over an engine's mailer.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Sends one letter once.
    pub(crate) async fn post(
        &self,
        to: &MailAddress,
        letter: &Letter,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let mailer = &self.engine.ports().mailer;
        let from = mailer.sender().ok_or_else(|| {
            SendError::Unreached("this deployment sends no mail: none is set up".into())
        })?;
        let message = letter.encode(from, to, self.engine.now())?;
        let mail = Mail { to: to.clone(), message, timeout_ms };
        mailer.send(mail).await.map_err(failed)
    }
}

#[async_trait]
impl Channel for MailChannel {
    async fn send(
        &self,
        target: &Target,
        event: &CloudEvent,
        timeout_ms: u64,
    ) -> Result<(), SendError> {
        let Destination::Mail(to) = &target.destination else {
            return Err(SendError::Gone("it is no mail address".into()));
        };
        let letter = event::letter(&target.subscription, to, event)?;
        self.post(to, &letter, timeout_ms).await
    }
}

fn failed(error: MailError) -> SendError {
    let message = clip(error.to_string(), MESSAGE_BYTES_MAX);
    match error {
        MailError::Unreached(_) => SendError::Unreached(message),
        MailError::Deferred(_) => SendError::Refused { message, retry_after_ms: None },
        MailError::Refused(_) => SendError::Gone(message),
    }
}
