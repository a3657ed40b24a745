//! Answers in the thread that a message came from: one request of each provider's API.

use crate::slack::escape;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::channel::{Provider, Thread};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    pub provider_key: Provider,
    pub team: String,
    pub thread: Thread,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_message_id: Option<String>,
}

/// What a channel answers with.
#[derive(Clone, Copy)]
pub struct Sender<'s> {
    /// Absent: the provider's public one.
    pub api_url: Option<&'s str>,
    pub token: &'s str,
    /// Twilio signs and is called with the same.
    pub signing_secret: &'s str,
}

/// A request, ready to send by POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// The request that answers. None: the origin does not say where.
pub fn reply(sender: &Sender<'_>, origin: &Origin, text: &str) -> Option<Outbound> {
    let Thread { external_thread_id: thread, external_channel_id, external_user_id } =
        &origin.thread;
    let channel = external_channel_id.as_deref()?;
    let message = origin.external_message_id.as_deref();
    match origin.provider_key {
        Provider::Slack => {
            let api = sender.api_url.unwrap_or("https://slack.com/api");
            let body = json!({ "channel": channel, "thread_ts": thread, "text": escape(text),
                "mrkdwn": false, "parse": "none", "unfurl_links": false, "unfurl_media": false });
            Some(document(format!("{api}/chat.postMessage"), bearer(sender), &body))
        }
        Provider::Github => {
            let api = sender.api_url.unwrap_or("https://api.github.com");
            let (owner, repository) = channel.split_once('/')?;
            let named = [owner, repository, thread].into_iter().all(is_path_word);
            let url = format!("{api}/repos/{owner}/{repository}/issues/{thread}/comments");
            let mut headers = bearer(sender);
            headers.push(("accept", "application/vnd.github+json".into()));
            headers.push(("user-agent", "countersign".into()));
            named.then(|| document(url, headers, &json!({ "body": text })))
        }
        Provider::Telegram => {
            let api = sender.api_url.unwrap_or("https://api.telegram.org");
            let mut body = json!({ "chat_id": channel, "text": text });
            if let Some(id) = message.and_then(|id| id.parse::<i64>().ok()) {
                put(&mut body, "reply_parameters", json!({ "message_id": id }));
            }
            if let Some(topic) = thread.parse::<i64>().ok().filter(|_| thread != channel) {
                put(&mut body, "message_thread_id", json!(topic));
            }
            let url = format!("{api}/bot{}/sendMessage", sender.token);
            Some(document(url, Vec::new(), &body))
        }
        Provider::Whatsapp => {
            let api = sender.api_url.unwrap_or("https://graph.facebook.com/v23.0");
            let mut body = json!({ "messaging_product": "whatsapp",
                "recipient_type": "individual", "to": external_user_id.as_deref()?,
                "type": "text", "text": { "preview_url": false, "body": text } });
            if let Some(id) = message {
                put(&mut body, "context", json!({ "message_id": id }));
            }
            let url = format!("{api}/{channel}/messages");
            is_path_word(channel).then(|| document(url, bearer(sender), &body))
        }
        Provider::Twilio => {
            let api = sender.api_url.unwrap_or("https://api.twilio.com");
            let url = format!("{api}/2010-04-01/Accounts/{}/Messages.json", origin.team);
            let to = external_user_id.as_deref()?;
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("To", to), ("From", channel), ("Body", text)])
                .finish()
                .into_bytes();
            let basic = B64.encode(format!("{}:{}", origin.team, sender.signing_secret));
            let headers = vec![
                ("authorization", format!("Basic {basic}")),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ];
            is_path_word(&origin.team).then_some(Outbound { url, headers, body })
        }
    }
}

/// Whether the provider's answer, which came with a success, says that it did it: Slack says so in
/// the body.
pub fn is_taken(provider: Provider, answer: &[u8]) -> bool {
    let said = |answer: &[u8]| {
        let answer = contracts::json::decode::<Value>(answer).unwrap_or_default();
        answer.get("ok") == Some(&Value::Bool(true))
    };
    match provider {
        Provider::Slack | Provider::Telegram => said(answer),
        Provider::Github | Provider::Whatsapp | Provider::Twilio => true,
    }
}

fn bearer(sender: &Sender<'_>) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {}", sender.token))]
}

fn document(url: String, mut headers: Vec<(&'static str, String)>, body: &Value) -> Outbound {
    headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
    Outbound { url, headers, body: body.to_string().into_bytes() }
}

fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(object) = body.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

// What is put into a path is a word of it, and climbs nowhere.
fn is_path_word(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !word.is_empty() && word.bytes().all(plain) && !matches!(word, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(provider: Provider, channel: &str, thread: &str) -> Origin {
        Origin {
            provider_key: provider,
            team: "AC1".into(),
            thread: Thread {
                external_thread_id: thread.into(),
                external_channel_id: Some(channel.into()),
                external_user_id: Some("user".into()),
            },
            external_message_id: Some("17".into()),
        }
    }

    #[test]
    fn each_provider_is_answered_in_its_thread() {
        let sender = Sender { api_url: None, token: "tok", signing_secret: "sec" };
        let sent = |provider, channel: &str, thread: &str| {
            let out = reply(&sender, &origin(provider, channel, thread), "<done> & more").unwrap();
            (out.url, String::from_utf8(out.body).unwrap())
        };
        let (url, body) = sent(Provider::Slack, "C1", "1.2");
        assert_eq!(url, "https://slack.com/api/chat.postMessage");
        assert!(body.contains(r#""thread_ts":"1.2""#) && body.contains("&lt;done&gt; &amp; more"));
        let (url, body) = sent(Provider::Github, "acme/app", "7");
        assert_eq!(url, "https://api.github.com/repos/acme/app/issues/7/comments");
        assert_eq!(body, r#"{"body":"<done> & more"}"#);
        let (url, body) = sent(Provider::Telegram, "-100", "5");
        assert_eq!(url, "https://api.telegram.org/bottok/sendMessage");
        assert!(body.contains(r#""message_thread_id":5"#) && body.contains(r#""message_id":17"#));
        let (url, body) = sent(Provider::Whatsapp, "106540352242922", "user");
        assert_eq!(url, "https://graph.facebook.com/v23.0/106540352242922/messages");
        assert!(body.contains(r#""to":"user""#));
        let (url, body) = sent(Provider::Twilio, "whatsapp:+1", "user");
        assert_eq!(url, "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json");
        assert_eq!(body, "To=user&From=whatsapp%3A%2B1&Body=%3Cdone%3E+%26+more");
    }

    #[test]
    fn attack_an_origin_that_climbs_in_a_path() {
        let sender = Sender { api_url: None, token: "tok", signing_secret: "sec" };
        for (provider, channel, thread) in [
            (Provider::Github, "acme/../..", "1"),
            (Provider::Github, "acme/app/x", "1"),
            (Provider::Github, "acme/app?x=1", "1"),
            (Provider::Github, "..", "1"),
            (Provider::Github, "acme/app", "1/../2"),
            (Provider::Whatsapp, "1/../2", "1"),
            (Provider::Whatsapp, "1?access_token=x", "1"),
        ] {
            assert_eq!(reply(&sender, &origin(provider, channel, thread), "x"), None, "{channel}");
        }
    }
}
