//! Stage events to where a workspace wants them.
//!
//! The events stay in their streams. What of a stream could not be sent to a target has a *cursor*:
//! up to where it was sent, how often the next event was tried, and when it is tried again. A
//! stream without a cursor was sent in full, so that nothing is written where nothing fails, and a
//! cursor is deleted when it has caught up.
//!
//! INVARIANT (bounded-work): each target has its own cursors, back-off and breaker: who does not
//! answer holds up nobody else, and is called no more often than a breaker allows. At least once,
//! in order for each target and stream; the same event has the same id.

mod backoff;
mod channel;
mod cursor;
mod deliver;
mod due;
mod health;
mod lane;
mod mail;
mod operations;
mod people;
mod reply;
mod serve;
mod slack;
mod webhook;

pub use backoff::backoff_ms;
pub use channel::{Channel, SendError};
pub use due::Due;
pub use mail::MailChannel;
pub use people::PeopleChannel;
pub use reply::ReplyChannel;
pub use slack::SlackChannel;
pub use webhook::WebhookChannel;

use contracts::{Problem, event::CloudEvent};
use countersign_store::{PortError, Store};
use cs_core::destination::Destination;
use engine::{Engine, Target};
use std::sync::Arc;

/// Longest wait for a target, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;

/// Delivers stage events.
pub struct Deliverer {
    engine: Arc<Engine>,
    webhook: WebhookChannel,
    mail: MailChannel,
    slack: SlackChannel,
    reply: ReplyChannel,
    people: PeopleChannel,
}

impl Deliverer {
    /// Over an engine's store, clock and outbound calls.
    pub fn new(engine: Arc<Engine>) -> Self {
        let webhook = WebhookChannel::new(engine.clone());
        let mail = MailChannel::new(engine.clone());
        let slack = SlackChannel::new(engine.clone());
        let reply = ReplyChannel::new(engine.clone());
        let people = PeopleChannel::new(engine.clone());
        Self { engine, webhook, mail, slack, reply, people }
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    fn channel(&self, target: &Target) -> &dyn Channel {
        match target.destination {
            Destination::Webhook { .. } => &self.webhook,
            Destination::Mail(_) => &self.mail,
            Destination::Slack { .. } => &self.slack,
            Destination::Reply { .. } => &self.reply,
            Destination::People => &self.people,
        }
    }
}

/// Whether a target is to get an event: of a type that it wants, and not from before it was there.
fn wanted(target: &Target, event: &CloudEvent) -> bool {
    let subscription = &target.subscription;
    let kind = event.event.key();
    event.time >= subscription.created_at
        && (subscription.types.is_empty() || subscription.types.iter().any(|own| own == kind))
}

// Others were faster, again and again.
fn busy(problem: Problem) -> PortError {
    PortError::Unavailable(problem.detail)
}
