//! Mails by SES, version 2: one request, signed by AWS's own signer.
//!
//! Not its SDK, which brings a hundred operations. The message is sent as it is (`Raw`), so that
//! what is tested on one machine is what leaves AWS. SES has no idempotency: nothing is repeated
//! here, and whoever sends tries again under the same `Message-ID`.

use crate::signing::{Signing, domain};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use cs_core::mail::MailAddress;
use engine::ports::{Mail, MailError, Mailer};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/v2/email/outbound-emails";
/// What SES calls a message that it cannot read.
const UNREADABLE: &str = "BadRequestException";

/// Sends mails from one address.
pub struct SesMailer {
    http: Result<Client, String>,
    signing: Signing,
    url: String,
    from: Option<MailAddress>,
}

impl SesMailer {
    /// From an address that SES has verified, or whose domain it has. None: mails are not sent.
    pub(crate) fn new(signing: Signing, endpoint: Option<&str>, from: Option<MailAddress>) -> Self {
        let region = &signing.region;
        let host = endpoint.map_or_else(
            || format!("https://email.{region}.{}", domain(region)),
            |url| url.trim_end_matches('/').to_owned(),
        );
        Self { http: crate::transport::http(), signing, url: host + PATH, from }
    }

    async fn request(&self, body: String, timeout_ms: u64) -> Result<(), MailError> {
        let unreached =
            |error: reqwest::Error| MailError::Unreached(error.without_url().to_string());
        let headers = [("content-type", "application/json")];
        let method = Method::POST;
        let signed =
            self.signing.sign(("ses", method.as_str()), &self.url, &headers, body.as_bytes());
        let signed = signed.map_err(|error| MailError::Unreached(error.to_string()))?;
        let http = self.http.as_ref().map_err(|why| MailError::Unreached(why.clone()))?;
        let timeout = Duration::from_millis(timeout_ms);
        let mut request = http.request(method, &self.url).timeout(timeout).body(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| match error.is_timeout() {
            true => MailError::Deferred("no answer in time".into()),
            false => unreached(error),
        })?;
        let status = response.status();
        let kind = response.headers().get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
        // `Type:http://...`
        let kind = kind.and_then(|kind| kind.split(':').next()).unwrap_or_default().to_owned();
        let why = || format!("SES answered {status} {kind}").trim_end().to_owned();
        match status {
            status if status.is_success() => Ok(()),
            // An address that is not verified yet, or an account that is paused, may be tomorrow.
            StatusCode::BAD_REQUEST if kind == UNREADABLE => Err(MailError::Refused(why())),
            status if status.is_server_error() => Err(MailError::Unreached(why())),
            _ => Err(MailError::Deferred(why())),
        }
    }
}

#[async_trait]
impl Mailer for SesMailer {
    fn sender(&self) -> Option<&MailAddress> {
        self.from.as_ref()
    }

    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let from = self.from.as_ref();
        let from = from.ok_or_else(|| MailError::Unreached("no mail is set up here".into()))?;
        let body = json!({
            "FromEmailAddress": from,
            "Destination": { "ToAddresses": [mail.to] },
            "Content": { "Raw": { "Data": B64.encode(&mail.message) } },
        });
        self.request(body.to_string(), mail.timeout_ms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Aws,
        fake_service::{Canned, answering, nobody},
    };
    use serde_json::Value;

    fn mailer(url: &str) -> SesMailer {
        Aws::at(url, "eu-central-1").mailer("countersign@example.com")
    }

    fn mail() -> Mail {
        Mail {
            to: "ada@example.com".parse().unwrap(),
            message: b"Subject: hi\r\n\r\nhi".to_vec(),
            timeout_ms: 2_000,
        }
    }

    #[tokio::test]
    async fn a_mail_is_sent_raw_to_one_address() {
        let (url, requests) = answering(Canned { status: 200, ..Canned::default() }).await;
        mailer(&url).send(mail()).await.unwrap();
        let taken = requests.lock().unwrap().remove(0);
        assert_eq!(taken.uri.path(), PATH);
        let signed = taken.headers["authorization"].to_str().unwrap().to_owned();
        assert!(signed.contains("/eu-central-1/ses/aws4_request"), "{signed}");
        let body: Value = serde_json::from_slice(&taken.body).unwrap();
        assert_eq!(
            body,
            json!({
                "FromEmailAddress": "countersign@example.com",
                "Destination": { "ToAddresses": ["ada@example.com"] },
                "Content": { "Raw": { "Data": B64.encode(mail().message) } },
            })
        );
    }

    #[tokio::test]
    async fn what_ses_says_is_never_now_or_nobody_is_there() {
        type Kind = fn(&MailError) -> bool;
        let deferred: Kind = |error| matches!(error, MailError::Deferred(_));
        let cases: [(u16, &'static str, Kind); 5] = [
            (400, UNREADABLE, |error| matches!(error, MailError::Refused(_))),
            (400, "MessageRejected:http://internal.amazon.com/", deferred),
            (400, "MailFromDomainNotVerifiedException", deferred),
            (429, "TooManyRequestsException", deferred),
            (500, "", |error| matches!(error, MailError::Unreached(_))),
        ];
        for (status, kind, wanted) in cases {
            let headers = vec![("x-amzn-errortype", kind)];
            let (url, _) = answering(Canned { status, headers, body: Vec::new() }).await;
            let error = mailer(&url).send(mail()).await.unwrap_err();
            assert!(wanted(&error), "{status} {kind}: {error}");
        }
        let error = mailer(&nobody().await).send(mail()).await.unwrap_err();
        assert!(matches!(error, MailError::Unreached(_)), "{error}");
        let silent = Aws::at("http://127.0.0.1:1", "eu-central-1").mailer("");
        assert!(silent.sender().is_none() && silent.send(mail()).await.is_err());
    }
}
