//! Tools of MCP servers: `tools/call` over streamable HTTP, by the protocol's own SDK (`rmcp`).
//!
//! A tool is pinned by the digest of its schemas: they are asked for before each call, and a tool that is not the one
//! that was signed is not called. One session a call: nothing of one workspace's call is left for another's.

use contracts::Digest;
use cs_core::canonical;
use engine::ports::{Reply, ToolAnswer, ToolCall};
use http::{HeaderName, HeaderValue};
use reqwest::Client;
use rmcp::{
    RoleClient, ServiceError, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResponse, ErrorCode, PaginatedRequestParams, Tool},
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
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
/// How long the end of a session may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What a manifest pins of a tool: sha256(JCS({name, inputSchema, outputSchema})).
pub fn schema_digest(tool: &Tool) -> Option<Digest> {
    let pinned = json!({ "name": tool.name, "inputSchema": tool.input_schema, "outputSchema": tool.output_schema });
    canonical::digest(&pinned).ok()
}

/// The tools of a server.
pub async fn tools(client: &Client, url: &str) -> Result<Vec<Tool>, String> {
    let listing = async {
        let session = open(client, url, HashMap::new(), LISTING_BYTES_MAX).await?;
        let tools = list(&session).await;
        close(session).await;
        tools
    };
    let late = |_| format!("the server did not list its tools within {} s", LISTING.as_secs());
    tokio::time::timeout(LISTING, listing).await.map_err(late)?
}

// Page by page. INVARIANT (bounded-work): a server whose cursor leads in a circle, or on for ever, is told of.
async fn list(session: &Session) -> Result<Vec<Tool>, String> {
    let (mut tools, mut bytes, mut cursor) = (Vec::new(), 0, None);
    let mut seen = HashSet::new();
    for _ in 0..LISTING_PAGES_MAX {
        let page = PaginatedRequestParams::default().with_cursor(cursor);
        let page = session.list_tools(Some(page)).await.map_err(|error| error.to_string())?;
        bytes += serde_json::to_vec(&page.tools).map_or(LISTING_BYTES_MAX, |text| text.len());
        tools.extend(page.tools);
        if bytes > LISTING_BYTES_MAX || tools.len() > LISTING_TOOLS_MAX {
            return Err(format!("its tools are more than {LISTING_TOOLS_MAX}, or {LISTING_BYTES_MAX} bytes"));
        }
        let Some(next) = page.next_cursor else { return Ok(tools) };
        if !seen.insert(next.clone()) {
            let shown = contracts::text::clip(next, SHOWN_BYTES_MAX);
            return Err(format!("its list of tools does not end: the cursor `{shown}` came before"));
        }
        cursor = Some(next);
    }
    Err(format!("its list of tools does not end within {LISTING_PAGES_MAX} pages"))
}

/// Calls a tool once.
pub(crate) async fn call(client: &Client, call: &ToolCall, url: &str, tool: &str, pinned: &Digest) -> ToolAnswer {
    let sent = AtomicBool::new(false);
    let limit = Duration::from_millis(call.timeout_ms);
    match tokio::time::timeout(limit, run(client, call, url, tool, pinned, &sent)).await {
        Ok(answer) => answer,
        Err(_) if sent.load(Ordering::SeqCst) => ToolAnswer::Lost("timed out".into()),
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
        _ => return ToolAnswer::Forbidden("the arguments of an MCP tool are an object".into()),
    };
    // The session's requests carry what every call carries; the type of the body is the protocol's.
    let headers = call.headers.iter().filter(|(name, _)| *name != "content-type");
    let headers = headers
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)))
        .collect();
    let session = match open(client, url, headers, call.answer_bytes_max).await {
        Ok(session) => session,
        Err(why) => return ToolAnswer::Unreached(why),
    };
    let answer = match list(&session).await {
        Err(error) => ToolAnswer::Unreached(format!("its tools cannot be listed: {error}")),
        Ok(tools) => match tools.iter().find(|found| found.name == tool) {
            None => ToolAnswer::Forbidden(format!("the server has no tool `{tool}` any more")),
            Some(found) if schema_digest(found).as_ref() != Some(pinned) => {
                let message = format!("the schemas of `{tool}` are not those that were signed: sign the skill anew");
                ToolAnswer::Forbidden(message)
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
    ().serve(transport).await.map_err(|error| error.to_string())
}

async fn close(session: Session) {
    let _ = tokio::time::timeout(CLOSING, session.cancel()).await;
}

// A result in the words of HTTP, which the engine reads (CONTRACTS 5): what the tool or the server refuses is a 4xx.
fn read(result: Result<CallToolResponse, ServiceError>, answer_bytes_max: usize) -> ToolAnswer {
    let answered = |status: u16, body: Value| ToolAnswer::Answered(Reply::new(status, body.to_string()));
    let refused = |status: u16, code: &str, title: String| answered(status, json!({ "code": code, "title": title }));
    match result {
        Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => {
            let said =
                result.content.iter().find_map(|content| content.as_text()).map(|content| content.text.clone());
            refused(422, "MCP_TOOL_ERROR", said.unwrap_or_else(|| "the tool reports an error".into()))
        }
        Ok(CallToolResponse::Complete(result)) => {
            let output = result.structured_content.unwrap_or_else(|| json!({ "content": result.content }));
            let body = output.to_string().into_bytes();
            if body.len() > answer_bytes_max {
                return ToolAnswer::TooLarge { status: 200 };
            }
            ToolAnswer::Answered(Reply::new(200, body))
        }
        Ok(CallToolResponse::InputRequired(_)) => {
            refused(422, "MCP_INPUT_REQUIRED", "the tool asks for more input, which a plan does not have".into())
        }
        Err(ServiceError::McpError(error)) => match error.code {
            ErrorCode::INVALID_PARAMS | ErrorCode::INVALID_REQUEST | ErrorCode::METHOD_NOT_FOUND => {
                refused(400, "MCP_REFUSED", "the server refuses the call".into())
            }
            code => refused(500, "MCP_ERROR", format!("the server answers error {}", code.0)),
        },
        Ok(_) => ToolAnswer::Lost("the tool goes on beyond the call".into()),
        Err(error) => ToolAnswer::Lost(error.to_string()),
    }
}
