//! Tools of an MCP server, by the protocol's own SDK on both sides: pinned by their schemas, called
//! under the plan.

use countersign_it::TestServer;
use countersign_tools::Dispatch;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// What the server was called with, and what it does.
#[derive(Default)]
struct Recorded {
    calls: Vec<(Value, Option<String>)>,
    drifted: bool,
    fails: bool,
}

#[derive(Clone)]
struct Library(Arc<Mutex<Recorded>>);

impl Library {
    fn tool(&self) -> Tool {
        let limit = if self.0.lock().unwrap().drifted { "string" } else { "integer" };
        let schema = json!({ "type": "object",
            "properties": { "title": { "type": "string" }, "copies": { "type": limit } },
            "required": ["title"] });
        let Value::Object(schema) = schema else { unreachable!() };
        Tool::new("borrowBook", "Lend a book", Arc::new(schema))
    }
}

impl ServerHandler for Library {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult { tools: vec![self.tool()], ..Default::default() })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = context.extensions.get::<http::request::Parts>();
        let warrant = parts.and_then(|parts| parts.headers.get("countersign-warrant"));
        let warrant = warrant.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut books = self.0.lock().unwrap();
        books.calls.push((json!(request.arguments), warrant));
        let answer = vec![ContentBlock::text("lent")];
        let result = if books.fails {
            CallToolResult::error(answer)
        } else {
            CallToolResult::success(answer)
        };
        Ok(CallToolResponse::Complete(result))
    }
}

async fn serve(library: Library) -> String {
    let service = StreamableHttpService::new(
        move || Ok(library.clone()),
        Arc::new(LocalSessionManager::default()),
        Default::default(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_tool_is_called_and_one_that_drifted_is_not() {
    let library = Library(Arc::default());
    let url = serve(library.clone()).await;
    let server = TestServer::start().await;
    let tools = Dispatch::new().unwrap().mcp_tools(&url, &[]).await.unwrap();
    let digest = countersign_tools::mcp::schema_digest(&tools[0]).unwrap();
    let manifest = json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "library", "version": "1.0.0" },
        "publisher": { "id": "countersign-examples", "provenance": "examples/skills" },
        "artifact": { "digest": digest },
        "operations": [{ "key": "borrow-book", "title": "Lend a book", "effect": "idempotent",
            "riskTier": "low",
            "inputSchema": *tools[0].input_schema,
                "outputSchema": { "type": "object", "required": ["content"] },
            "timeoutSeconds": 10, "labels": { "output": ["untrusted"] },
            "binding": { "kind": "mcp", "url": url, "tool": "borrowBook",
                "schemaDigest": digest } }] });
    server.install(&server.approver, &manifest).await;
    let borrow = json!([{ "id": "b", "use": "library/borrow-book",
        "with": { "title": "Dune", "copies": 1 } }]);
    let id = server.submit(borrow.clone()).await;
    server.until(&id, "completed").await;
    let (_, trace) =
        server.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
    assert_eq!(trace["payloads"]["b"]["content"][0]["text"], "lent", "{trace}");
    let (arguments, warrant) = library.0.lock().unwrap().calls.remove(0);
    assert_eq!(arguments, json!({ "title": "Dune", "copies": 1 }));
    // The warrant is for these arguments, on this server.
    let (_, jwks) = server.agent.get("/.well-known/jwks.json").await;
    let keys = cs_core::warrant::KeySet::from_jwks(&jwks).unwrap();
    let arguments = arguments.to_string();
    let expected = cs_core::warrant::Expected {
        audience: url.trim_end_matches("/mcp"),
        operation: "library/borrow-book",
        input: arguments.as_bytes(),
        now: countersign_it::now().ms() / 1_000,
    };
    cs_core::warrant::verify(&warrant.unwrap(), &keys, &expected).unwrap();
    server.proven(&id).await;

    library.0.lock().unwrap().fails = true;
    let id = server.submit(borrow.clone()).await;
    let view = server.until(&id, "failed").await;
    assert_eq!(view["steps"][0]["code"], "MCP_TOOL_ERROR", "the tool says no: {view}");
    library.0.lock().unwrap().fails = false;

    library.0.lock().unwrap().drifted = true;
    let before = library.0.lock().unwrap().calls.len();
    let id = server.submit(borrow).await;
    let view = server.until(&id, "failed").await;
    assert_eq!(view["steps"][0]["code"], "TARGET_FORBIDDEN", "{view}");
    assert!(
        view["steps"][0]["message"].as_str().unwrap().contains("not those that were signed"),
        "{view}"
    );
    assert_eq!(library.0.lock().unwrap().calls.len(), before, "and it was not called");
}

/// A server whose list of tools never ends.
#[derive(Clone)]
struct EndlessServer {
    turns: bool,
    asked: Arc<Mutex<usize>>,
}

impl ServerHandler for EndlessServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        let next = if self.turns { "the same".to_owned() } else { format!("page {asked}") };
        Ok(ListToolsResult { next_cursor: Some(next), ..Default::default() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_work_a_list_of_tools_that_never_ends_is_an_error_that_says_so() {
    for (turns, says, most) in [
        (true, "the cursor `the same` came before", 2),
        (false, "does not end within 100 pages", 100),
    ] {
        let endless = EndlessServer { turns, asked: Arc::default() };
        let service = {
            let endless = endless.clone();
            StreamableHttpService::new(
                move || Ok(endless.clone()),
                Arc::new(LocalSessionManager::default()),
                Default::default(),
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
        });
        let why = Dispatch::new().unwrap().mcp_tools(&url, &[]).await.unwrap_err().to_string();
        assert!(why.contains(says), "{why}");
        assert_eq!(*endless.asked.lock().unwrap(), most);
    }
}
