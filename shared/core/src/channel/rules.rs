//! What a message becomes: the rules of a channel.

use contracts::{
    Issue,
    channel::{ChannelRule, InboundEvent, MessagePart},
    command::PlaybookCall,
    limits::{CHANNEL_PATTERN_BYTES_MAX, CHANNEL_RULES_MAX, NAME_BYTES_MAX},
};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Largest pattern, compiled, in bytes.
const COMPILED_BYTES_MAX: usize = 64 * 1024;

/// A stored rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern of rule {index} is not one")]
pub struct RuleError {
    index: usize,
}

// An engine without backtracking: the time is linear in the text, whatever the pattern.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
}

/// What is wrong with the rules of a channel.
pub fn check_rules(rules: &[ChannelRule]) -> Vec<Issue> {
    let mut issues = Vec::new();
    if rules.len() > CHANNEL_RULES_MAX {
        issues.push(Issue::new("/rules", format!("at most {CHANNEL_RULES_MAX} rules")));
    }
    for (index, rule) in rules.iter().take(CHANNEL_RULES_MAX).enumerate() {
        let mut wrong = |field: &str, message: String| {
            issues.push(Issue::new(format!("/rules/{index}{field}"), message));
        };
        if let Some(pattern) = &rule.pattern {
            if pattern.is_empty() || pattern.len() > CHANNEL_PATTERN_BYTES_MAX {
                wrong("/pattern", format!("1 to {CHANNEL_PATTERN_BYTES_MAX} bytes"));
            } else if let Err(error) = compile(pattern) {
                wrong("/pattern", error.to_string());
            }
        }
        if rule.playbook.is_some() && rule.draft.is_some() {
            wrong("/draft", "a playbook is a draft already: name one of the two".into());
        }
        if rule.playbook.as_ref().is_some_and(|call| call.key.len() > 2 * NAME_BYTES_MAX) {
            wrong("/playbook/key", format!("at most {} bytes", 2 * NAME_BYTES_MAX));
        }
        let fixed = rule.playbook.as_ref().map(|call| &call.inputs);
        for name in rule.inputs.keys() {
            match fixed {
                None => wrong("/inputs", "inputs are of a playbook, and there is none".into()),
                Some(fixed) if fixed.contains_key(name) => {
                    let pointer = format!("/inputs/{}", contracts::json::escape(name));
                    wrong(&pointer, "this input has a fixed value as well".into());
                }
                Some(_) => {}
            }
        }
    }
    issues
}

/// The first rule that fits a text, and its place.
pub fn chosen<'r>(
    rules: &'r [ChannelRule],
    text: &str,
) -> Result<Option<(usize, &'r ChannelRule)>, RuleError> {
    for (index, rule) in rules.iter().enumerate() {
        let fits = match &rule.pattern {
            None => true,
            // INVARIANT (fail-closed): a rule that cannot be read decides nothing, and no other.
            Some(pattern) => compile(pattern).map_err(|_| RuleError { index })?.is_match(text),
        };
        if fits {
            return Ok(Some((index, rule)));
        }
    }
    Ok(None)
}

/// The call of a rule's playbook, with what it takes from the message. INVARIANT
/// (data-is-never-control): which inputs those are stands beside the inputs, never in them.
pub fn fill(rule: &ChannelRule, event: &InboundEvent) -> Option<PlaybookCall> {
    let mut call = rule.playbook.clone()?;
    for (name, part) in &rule.inputs {
        let value = match part {
            MessagePart::Text => event.message.as_ref().map(|message| message.text.clone()),
            MessagePart::UserId => event.thread.external_user_id.clone(),
            MessagePart::ThreadId => Some(event.thread.external_thread_id.clone()),
            MessagePart::ChannelId => event.thread.external_channel_id.clone(),
            MessagePart::MessageId => {
                event.message.as_ref().and_then(|message| message.external_message_id.clone())
            }
        };
        if let Some(value) = value {
            call.inputs.insert(name.clone(), Value::String(value));
        }
    }
    Some(call)
}
