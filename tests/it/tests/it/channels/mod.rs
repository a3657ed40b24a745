//! Channels: what people outside say, from a provider's request to a judged plan.

mod attacks;
mod fixtures;
mod kit;
mod receipts;
mod replies;
mod slack;
mod slack_stub;
