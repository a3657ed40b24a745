//! Calls tools: one dispatch over the bindings of operations. `http` and `mcp` are called from any
//! machine; further bindings are adapters that a deployment adds.

pub mod http;
pub mod mcp;
mod outbound;

use async_trait::async_trait;
use contracts::manifest::{Binding, BindingKind};
use engine::ports::{ToolAnswer, ToolCall, Tools};
pub use outbound::Outbound;
use std::{collections::BTreeMap, sync::Arc};

/// What every deployment calls.
pub const BINDINGS: [BindingKind; 2] = [BindingKind::Http, BindingKind::Mcp];

/// Calls each tool by its binding.
pub struct Dispatch {
    outbound: Outbound,
    /// Bindings of this deployment beside [`BINDINGS`].
    further: BTreeMap<BindingKind, Arc<dyn Tools>>,
}

impl Dispatch {
    /// With the bindings that any machine can call.
    pub fn new() -> Result<Self, reqwest::Error> {
        Ok(Self { outbound: Outbound::new()?, further: BTreeMap::new() })
    }

    /// The same with an adapter for a further binding.
    #[must_use]
    pub fn with(mut self, kind: BindingKind, tools: Arc<dyn Tools>) -> Self {
        self.further.insert(kind, tools);
        self
    }

    /// The tools of an MCP server, wherever it is, asked for with headers of the caller's.
    pub async fn mcp_tools(
        &self,
        url: &str,
        headers: &[(String, String)],
    ) -> Result<Vec<rmcp::model::Tool>, mcp::ListingError> {
        let target = self.outbound.target(url, true);
        let (client, _) = target.map_err(mcp::ListingError::Server)?;
        mcp::tools(client, url, headers).await
    }
}

#[async_trait]
impl Tools for Dispatch {
    async fn call(&self, call: ToolCall) -> ToolAnswer {
        match call.binding.clone() {
            Binding::Http { url, method } => {
                http::call(&self.outbound, call, &url, method.as_deref().unwrap_or("POST")).await
            }
            Binding::Mcp { url, tool, schema_digest } => {
                match self.outbound.target(&url, call.allow_private) {
                    Ok((client, _)) => mcp::call(client, &call, &url, &tool, &schema_digest).await,
                    Err(why) => ToolAnswer::forbidden(why),
                }
            }
            other => match self.further.get(&other.kind()) {
                Some(tools) => tools.call(call).await,
                None => ToolAnswer::forbidden(format!(
                    "this deployment does not call tools by `{}`",
                    other.kind()
                )),
            },
        }
    }
}
