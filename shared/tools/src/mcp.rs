//! Tools of MCP servers: `tools/call` over streamable HTTP, by the protocol's own SDK (`rmcp`).
//!
//! A tool is pinned by the digest of its schemas: they are asked for before each call, and a tool
//! that is not the one that was signed is not called. One session a call: nothing of one
//! workspace's call is left for another's.

use crate::http::causes;
use contracts::Digest;
use cs_core::canonical;
use engine::ports::{ToolAnswer, ToolCall, ToolReport};
use http::{HeaderName, HeaderValue};
use reqwest::Client;
use rmcp::{
    RoleClient, ServiceError, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResponse, ErrorCode, PaginatedRequestParams, Tool},
    service::{ClientInitializeError, RunningService},
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError},
    },
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Room for the protocol's own words around an answer, in bytes.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// Largest list of tools that is read, in bytes.
const LISTING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pages of a list of tools, and tools in it.
const LISTING_PAGES_MAX: usize = 100;
const LISTING_TOOLS_MAX: usize = 10_000;
/// How long listing the tools of a server may take.
const LISTING: Duration = Duration::from_secs(60);
/// What a message shows of a cursor, in bytes.
const SHOWN_BYTES_MAX: usize = 80;
/// What a message says of a server that opens no session, in bytes.
const REFUSAL_BYTES_MAX: usize = 200;
/// How long the end of a session may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What a manifest pins of a tool: sha256(JCS({name, inputSchema, outputSchema})).
pub fn schema_digest(tool: &Tool) -> Option<Digest> {
    let pinned = json!({ "name": tool.name, "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema });
    canonical::digest(&pinned).ok()
}

/// Why the tools of a server are not known.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// A header that cannot be sent; its value is not told.
    #[error("`{0}` is no header, or its value none")]
    Header(String),
    /// What the server did, or that it is not there.
    #[error("{0}")]
    Server(String),
}

/// The tools of a server, asked for with headers of the caller's.
pub(crate) async fn tools(
    client: &Client,
    url: &str,
    headers: &[(String, String)],
) -> Result<Vec<Tool>, ListingError> {
    let headers = headers.iter().map(|(name, value)| {
        let wrong = || ListingError::Header(name.clone());
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((parsed, value))
    });
    let headers = headers.collect::<Result<_, _>>()?;
    let listing = async {
        let session = open(client, url, headers, LISTING_BYTES_MAX).await?;
        let tools = list(&session).await;
        close(session).await;
        tools
    };
    let late = |_| {
        let seconds = LISTING.as_secs();
        ListingError::Server(format!("it did not list its tools within {seconds} s"))
    };
    let listed = tokio::time::timeout(LISTING, listing).await.map_err(late)?;
    listed.map_err(ListingError::Server)
}

// Page by page. INVARIANT (bounded-work): a server whose cursor leads in a circle, or on for ever,
// is told of.
async fn list(session: &Session) -> Result<Vec<Tool>, String> {
    let (mut tools, mut bytes, mut cursor) = (Vec::new(), 0, None);
    let mut seen = HashSet::new();
    for _ in 0..LISTING_PAGES_MAX {
        let page = PaginatedRequestParams::default().with_cursor(cursor);
        let page = session.list_tools(Some(page)).await.map_err(|error| error.to_string())?;
        bytes += serde_json::to_vec(&page.tools).map_or(LISTING_BYTES_MAX, |text| text.len());
        tools.extend(page.tools);
        if bytes > LISTING_BYTES_MAX || tools.len() > LISTING_TOOLS_MAX {
            return Err(format!(
                "its tools are more than {LISTING_TOOLS_MAX}, or {LISTING_BYTES_MAX} bytes"
            ));
        }
        let Some(next) = page.next_cursor else { return Ok(tools) };
        if !seen.insert(next.clone()) {
            let shown = contracts::text::clip(next, SHOWN_BYTES_MAX);
            return Err(format!(
                "its list of tools does not end: the cursor `{shown}` came before"
            ));
        }
        cursor = Some(next);
    }
    Err(format!("its list of tools does not end within {LISTING_PAGES_MAX} pages"))
}

/// Calls a tool once.
pub(crate) async fn call(
    client: &Client,
    call: &ToolCall,
    url: &str,
    tool: &str,
    pinned: &Digest,
) -> ToolAnswer {
    let sent = AtomicBool::new(false);
    let limit = Duration::from_millis(call.timeout_ms);
    match tokio::time::timeout(limit, run(client, call, url, tool, pinned, &sent)).await {
        Ok(answer) => answer,
        Err(_) if sent.load(Ordering::SeqCst) => ToolAnswer::lost("timed out"),
        Err(_) => ToolAnswer::Unreached("timed out before the tool was called".into()),
    }
}

async fn run(
    client: &Client,
    call: &ToolCall,
    url: &str,
    tool: &str,
    pinned: &Digest,
    sent: &AtomicBool,
) -> ToolAnswer {
    let arguments = match contracts::json::decode::<Value>(&call.body) {
        Ok(Value::Object(arguments)) => arguments,
        _ => return ToolAnswer::forbidden("the arguments of an MCP tool are an object"),
    };
    // The session's requests carry what every call carries; the type of the body is the protocol's.
    let headers = call.headers.iter().filter(|(name, _)| *name != "content-type");
    let headers = headers
        .filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let session = match open(client, url, headers, call.answer_bytes_max).await {
        Ok(session) => session,
        Err(why) => return ToolAnswer::Unreached(why),
    };
    let answer = match list(&session).await {
        Err(error) => ToolAnswer::Unreached(format!("its tools cannot be listed: {error}")),
        Ok(tools) => match tools.iter().find(|found| found.name == tool) {
            None => ToolAnswer::forbidden(format!("the server has no tool `{tool}` any more")),
            Some(found) if schema_digest(found).as_ref() != Some(pinned) => {
                let message = format!(
                    "the schemas of `{tool}` are not those that were signed: sign the skill anew"
                );
                ToolAnswer::forbidden(message)
            }
            Some(_) => {
                sent.store(true, Ordering::SeqCst);
                let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
                read(session.call_tool_once(request).await, call.answer_bytes_max)
            }
        },
    };
    close(session).await;
    answer
}

type Session = RunningService<RoleClient, ()>;

async fn open(
    client: &Client,
    url: &str,
    headers: HashMap<HeaderName, HeaderValue>,
    answer_bytes_max: usize,
) -> Result<Session, String> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(headers);
    config.max_json_response_size = answer_bytes_max + ENVELOPE_BYTES;
    config.max_sse_event_size = answer_bytes_max + ENVELOPE_BYTES;
    // A call is repeated by the engine, which knows its effect class, or not at all.
    config.reinit_on_expired_session = false;
    let transport = StreamableHttpClientTransport::with_client(client.clone(), config);
    ().serve(transport).await.map_err(|error| refusal(&error))
}

// In a few words: what the SDK prints of an error holds its own types.
fn refusal(error: &ClientInitializeError) -> String {
    let ClientInitializeError::TransportError { error, .. } = error else {
        let first = error.to_string();
        return contracts::text::clip(first, REFUSAL_BYTES_MAX);
    };
    match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => causes(error),
        Some(StreamableHttpError::AuthRequired(_)) => "it asks for authentication".into(),
        Some(error) => contracts::text::clip(error.to_string(), REFUSAL_BYTES_MAX),
        None => contracts::text::clip(error.error.to_string(), REFUSAL_BYTES_MAX),
    }
}

async fn close(session: Session) {
    let _ = tokio::time::timeout(CLOSING, session.cancel()).await;
}

// What the tool or the server refuses is a failure: it did nothing.
fn read(result: Result<CallToolResponse, ServiceError>, answer_bytes_max: usize) -> ToolAnswer {
    let report = |code: &str, fact: &str, said: Option<String>| ToolReport {
        code: code.to_owned(),
        fact: fact.to_owned(),
        said: said.into_iter().collect(),
        retry_after_seconds: None,
    };
    match result {
        Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => {
            let said = result.content.iter().find_map(|content| content.as_text());
            let said = said.map(|content| content.text.clone());
            ToolAnswer::Failed(report("MCP_TOOL_ERROR", "the tool reports an error", said))
        }
        Ok(CallToolResponse::Complete(result)) => {
            let output =
                result.structured_content.unwrap_or_else(|| json!({ "content": result.content }));
            let body = output.to_string().into_bytes();
            if body.len() > answer_bytes_max {
                return ToolAnswer::too_large(answer_bytes_max);
            }
            ToolAnswer::Output(body)
        }
        Ok(CallToolResponse::InputRequired(_)) => {
            let fact = "the tool asks for more input, which a plan does not have";
            ToolAnswer::Failed(report("MCP_INPUT_REQUIRED", fact, None))
        }
        Err(ServiceError::McpError(error)) => match error.code {
            ErrorCode::INVALID_PARAMS
            | ErrorCode::INVALID_REQUEST
            | ErrorCode::METHOD_NOT_FOUND => {
                ToolAnswer::Failed(report("MCP_REFUSED", "the server refuses the call", None))
            }
            code => {
                let fact = format!("the server answers error {}", code.0);
                ToolAnswer::Unknown(report("MCP_ERROR", &fact, None))
            }
        },
        Ok(_) => ToolAnswer::lost("the tool goes on beyond the call"),
        Err(error) => ToolAnswer::lost(error.to_string()),
    }
}
