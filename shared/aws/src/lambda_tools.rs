//! Tools that are Lambda functions: one synchronous invocation a call (`Invoke`, API 2015-03-31).
//!
//! The event is the input, so that the warrant's `arg` is the digest of the event's bytes. What
//! HTTP tools get as headers is in the client context, under `custom`.

use crate::signing::{Signing, domain};
use async_trait::async_trait;
use aws_credential_types::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use contracts::{json, manifest::Binding};
use engine::ports::{ToolAnswer, ToolCall, ToolReport, Tools};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// Largest client context, in bytes of base64 (Lambda's API reference, `Invoke`).
const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;
/// Largest event of a synchronous invocation, in bytes (Lambda's quotas).
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
/// An error of a function whose type begins so says that nothing was done.
const REFUSED: &str = "Refused";

/// Invokes functions by their ARN.
pub struct LambdaTools {
    http: Result<Client, String>,
    credentials: Credentials,
    endpoint: Option<String>,
}

impl LambdaTools {
    pub(crate) fn new(credentials: Credentials, endpoint: Option<&str>) -> Self {
        let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
        Self { http: crate::transport::http(), credentials, endpoint }
    }

    // A function is invoked in the region that its ARN names.
    fn request(&self, arn: &str, call: &ToolCall) -> Result<RequestBuilder, ToolAnswer> {
        let unreached = |why: String| ToolAnswer::Unreached(why);
        let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
        let host = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://lambda.{region}.{}", domain(&region)),
        };
        let function = arn.replace(':', "%3A").replace('$', "%24");
        let url = format!("{host}/2015-03-31/functions/{function}/invocations");
        let context = client_context(call)?;
        let headers = [
            ("content-type", "application/json"),
            ("x-amz-invocation-type", "RequestResponse"),
            ("x-amz-client-context", context.as_str()),
        ];
        let signed = Signing { credentials: self.credentials.clone(), region }
            .sign(("lambda", "POST"), &url, &headers, &call.body)
            .map_err(|fault| unreached(fault.to_string()))?;
        let http = self.http.as_ref().map_err(|why| unreached(why.clone()))?;
        let timeout = Duration::from_millis(call.timeout_ms);
        let request = http.post(url).timeout(timeout).body(call.body.clone());
        Ok(signed.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    }
}

#[async_trait]
impl Tools for LambdaTools {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        let Binding::Lambda { function_arn } = &call.binding else {
            return ToolAnswer::forbidden("not a Lambda function");
        };
        if call.body.len() > EVENT_BYTES_MAX {
            let fact =
                format!("the input has more than {EVENT_BYTES_MAX} bytes: no event takes it");
            return ToolAnswer::Failed(ToolReport::new("CALL_TOO_LARGE", fact));
        }
        let request = match self.request(function_arn, &call) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        match request.send().await {
            Ok(response) => read(response, call.answer_bytes_max).await,
            Err(error) if error.is_connect() || error.is_builder() => {
                ToolAnswer::Unreached(error.without_url().to_string())
            }
            Err(error) => ToolAnswer::lost(error.without_url().to_string()),
        }
    }
}

// The headers of a call as a function's context shows them: `{"custom": {name: value}}`.
fn client_context(call: &ToolCall) -> Result<String, ToolAnswer> {
    let headers = call.headers.iter().filter(|(name, _)| *name != "content-type");
    let custom: BTreeMap<&str, &str> =
        headers.map(|(name, value)| (*name, value.as_str())).collect();
    let context = B64.encode(serde_json::json!({ "custom": custom }).to_string());
    if context.len() <= CLIENT_CONTEXT_BYTES_MAX {
        return Ok(context);
    }
    let fact = format!(
        "the headers of the call make a client context of {} bytes; Lambda takes at most \
         {CLIENT_CONTEXT_BYTES_MAX}",
        context.len()
    );
    Err(ToolAnswer::Failed(ToolReport::new("CALL_TOO_LARGE", fact)))
}

async fn read(mut response: Response, bytes_max: usize) -> ToolAnswer {
    let status = response.status();
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let failed = header("x-amz-function-error").is_some();
    let error_type = header("x-amzn-errortype");
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > bytes_max => {
                if status.is_success() && !failed {
                    return ToolAnswer::too_large(bytes_max);
                }
                // What is cut cannot be read; that it failed is known without it.
                body.clear();
                break;
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return ToolAnswer::lost(error.without_url().to_string()),
        }
    }
    if failed {
        return function_error(&body);
    }
    if status.is_success() {
        return ToolAnswer::Output(body);
    }
    not_invoked(status, error_type.as_deref(), &body)
}

/// What a function, or its runtime, says of an invocation that failed.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FunctionError {
    error_type: String,
    error_message: String,
}

// The function was invoked, so it may have done its work before it failed or was ended. Only where
// it says itself that it refused has nothing happened. Java's types carry their package.
fn function_error(body: &[u8]) -> ToolAnswer {
    let error: FunctionError = json::decode(body).unwrap_or_default();
    let refused = error.error_type.rsplit('.').next().unwrap_or_default().starts_with(REFUSED);
    let (code, fact) = match refused {
        true => ("FUNCTION_REFUSED", "the function refused the call"),
        false => ("FUNCTION_ERROR", "the function failed and may have done its work"),
    };
    let said = [error.error_type, error.error_message];
    let said = said.into_iter().filter(|text| !text.is_empty()).collect();
    let report = ToolReport { said, ..ToolReport::new(code, fact) };
    if refused { ToolAnswer::Failed(report) } else { ToolAnswer::Unknown(report) }
}

/// What Lambda itself says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceError {
    #[serde(alias = "message")]
    #[serde(rename = "Message")]
    message: String,
}

// A status that is no success is kept for what prevents a function from running (API reference,
// `Invoke`). Some of it passes: too many invocations (429), a function that is not ready yet (408,
// 409). Two leave open whether the function ran: a file system that failed (410), and a service
// that failed (5xx).
fn not_invoked(status: StatusCode, error_type: Option<&str>, body: &[u8]) -> ToolAnswer {
    let kind = error_type.and_then(|kind| kind.split(':').next()).unwrap_or_default();
    let error: ServiceError = json::decode(body).unwrap_or_default();
    let answered = format!("Lambda answered {} {kind}", status.as_u16()).trim_end().to_owned();
    let said = [error.message].into_iter().filter(|text| !text.is_empty()).collect();
    let report = |code: &str, fact| ToolReport { said, ..ToolReport::new(code, fact) };
    match status.as_u16() {
        408 | 409 | 429 => ToolAnswer::Unreached(answered),
        410 => ToolAnswer::Unknown(report("TOOL_410", answered)),
        400..=499 => {
            let fact = format!("the function was not invoked: {answered}");
            ToolAnswer::Failed(report("FUNCTION_NOT_INVOKED", fact))
        }
        code => ToolAnswer::Unknown(report(&format!("TOOL_{code}"), answered)),
    }
}

#[cfg(test)]
mod tests;
