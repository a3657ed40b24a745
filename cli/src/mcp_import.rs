//! The tools of an MCP server as operations of a skill, each pinned by its schemas. What cannot be one is left out and named;
//! what a server says of its own tools is a hint: people look at it before they sign.

use crate::client::Failure;
use contracts::{limits::SKILL_OPERATIONS_MAX, manifest::Manifest};
use cs_core::{artifact, skill::Skill};
use host::{HttpTools, mcp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Of a tool's name so much goes into its key, with room for a number behind it.
const KEY_CHARS: usize = 58;

/// A server, and which of its tools are wanted: all, unless some are named.
pub struct Server {
    pub url: String,
    pub only: Vec<String>,
    pub except: Vec<String>,
}

/// What became of a server's tools.
#[derive(Default)]
pub struct Imported {
    pub operations: Vec<Value>,
    /// Tools that cannot be operations, and why.
    pub left: Vec<(String, String)>,
}

impl Server {
    /// Lists the tools and wraps those that can be.
    pub async fn import(&self) -> Result<Imported, Failure> {
        let tools = HttpTools::new().map_err(|error| Failure::Local(error.to_string()))?.mcp_tools(&self.url).await;
        let tools = tools.map_err(|error| Failure::Unreachable(self.url.clone(), error))?;
        let tools = tools.into_iter().map(|tool| {
            let digest = json!(mcp::schema_digest(&tool));
            (json!(tool), digest)
        });
        let imported = self.wrap(tools)?;
        if imported.operations.is_empty() {
            let why = imported.left.first().map_or(String::new(), |(tool, why)| format!(" `{tool}`: {why}"));
            return Err(Failure::Local(format!("{} has no tool that can be an operation.{why}", self.url)));
        }
        Ok(imported)
    }

    // Tools as the protocol writes them, each with the digest of its schemas.
    fn wrap(&self, tools: impl Iterator<Item = (Value, Value)>) -> Result<Imported, Failure> {
        let (mut imported, mut keys, mut names) = (Imported::default(), BTreeSet::new(), BTreeSet::new());
        for (tool, digest) in tools {
            let name = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let wanted = if self.only.is_empty() { !self.except.contains(&name) } else { self.only.contains(&name) };
            let is_new = names.insert(name.clone());
            if !wanted {
                continue;
            }
            if !is_new {
                imported.left.push((name, "the server lists this name twice".into()));
                continue;
            }
            if imported.operations.len() == SKILL_OPERATIONS_MAX {
                let why = format!("a skill has at most {SKILL_OPERATIONS_MAX} operations; `--only` chooses");
                imported.left.push((name, why));
                continue;
            }
            let operation = self.operation(&tool, &name, key(&name, &keys), digest);
            match fault(&operation) {
                None => {
                    keys.extend(operation.get("key").and_then(Value::as_str).map(str::to_owned));
                    imported.operations.push(operation);
                }
                Some(why) => imported.left.push((name, why)),
            }
        }
        match self.only.iter().chain(&self.except).find(|name| !names.contains(*name)) {
            Some(name) => Err(Failure::Local(format!("{} has no tool `{name}`", self.url))),
            None => Ok(imported),
        }
    }

    fn operation(&self, tool: &Value, name: &str, key: String, digest: Value) -> Value {
        let hint = |name: &str| tool.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
        let (effect, tier) = match (hint("readOnlyHint"), hint("idempotentHint"), hint("destructiveHint")) {
            (Some(true), _, _) => ("read", "low"),
            (_, Some(true), Some(false)) => ("idempotent", "medium"),
            (_, _, Some(false)) => ("non_idempotent", "medium"),
            _ => ("non_idempotent", "high"),
        };
        let content = json!({ "type": "object", "required": ["content"],
            "properties": { "content": { "type": "array", "items": { "type": "object" } } } });
        json!({
            "key": key,
            "title": tool.get("title").and_then(Value::as_str).unwrap_or(name),
            "description": tool.get("description"),
            "inputSchema": typed(tool.get("inputSchema").cloned().unwrap_or_else(|| json!({ "type": "object" }))),
            "outputSchema": typed(tool.get("outputSchema").filter(|schema| !schema.is_null()).cloned().unwrap_or(content)),
            "effect": effect, "riskTier": tier, "timeoutSeconds": 30,
            // What a server answers was written by others.
            "labels": { "output": ["untrusted"] },
            "binding": { "kind": "mcp", "url": self.url, "tool": name, "schemaDigest": digest },
        })
    }
}

// Why an operation cannot be one of a skill; the control plane would say the same.
fn fault(operation: &Value) -> Option<String> {
    let manifest = json!({
        "schemaVersion": "1.0.0",
        "skill": { "key": "imported", "version": "0.1.0" },
        "publisher": { "id": "imported", "provenance": "imported" },
        "artifact": { "digest": artifact::digest(b"") },
        "operations": [operation],
    });
    let issues = match contracts::json::typed::<Manifest>(manifest) {
        Ok(manifest) => Skill::new(manifest).err().map(|(_, issues)| issues)?,
        Err(problem) => problem.issues,
    };
    let first = issues.first()?;
    let place = first.pointer.strip_prefix("/manifest/operations/0").unwrap_or(&first.pointer);
    Some(format!("{place}: {}", first.message).trim_start_matches(": ").to_owned())
}

// `nullable` of OpenAPI 3.0 as JSON Schema says it.
fn typed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true))
                && let Some(kind) = map.get("type").and_then(Value::as_str).map(str::to_owned)
            {
                map.remove("nullable");
                map.insert("type".into(), json!([kind, "null"]));
                if let Some(words) = map.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            map.values_mut().for_each(|inner| *inner = typed(inner.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| *inner = typed(inner.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    schema
}

// A key that no other tool has: `getUser` and `getuser` are two.
fn key(tool: &str, taken: &BTreeSet<String>) -> String {
    let mut key = String::new();
    for c in tool.chars() {
        match c {
            'A'..='Z' => {
                if !key.is_empty() && !key.ends_with(['-', '_', '.']) {
                    key.push('-');
                }
                key.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' | '-' | '_' | '.' => key.push(c),
            _ => key.push('-'),
        }
    }
    if !key.starts_with(|c: char| c.is_ascii_lowercase()) {
        key.insert_str(0, "tool-");
    }
    key.truncate(KEY_CHARS);
    let numbered = (2..).map(|n| format!("{key}-{n}"));
    std::iter::once(key.clone()).chain(numbered).find(|key| !taken.contains(key)).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(only: &[&str], except: &[&str]) -> Server {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Server { url: "https://mcp.example".into(), only: names(only), except: names(except) }
    }

    fn tool(name: &str, schema: Value) -> (Value, Value) {
        let digest = format!("sha256:{}", "0".repeat(64));
        (json!({ "name": name, "inputSchema": schema, "annotations": { "readOnlyHint": true } }), json!(digest))
    }

    #[test]
    fn import_takes_all_that_can_be_wrapped_and_names_the_rest() {
        let plain = || json!({ "type": "object" });
        let tuple = json!({ "type": "object", "properties": { "a": { "type": "array", "items": [{}, {}] } } });
        let mut draft_7 = tuple.clone();
        draft_7["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        let nullable = json!({ "type": "object", "properties": { "a": { "type": "string", "nullable": true } } });
        let tools = || {
            [
                tool("getUser", plain()),
                tool("get-user", plain()),
                tool("2fa", plain()),
                tool("dangling", json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/no" } } })),
                tool("tuple", tuple.clone()),
                tool("tuple7", draft_7.clone()),
                tool("nullable", nullable.clone()),
                tool("getUser", plain()),
            ]
        };
        let imported = server(&[], &[]).wrap(tools().into_iter()).unwrap();
        let keys: Vec<_> = imported.operations.iter().map(|operation| operation["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["get-user", "get-user-2", "tool-2fa", "tuple7", "nullable"], "{:?}", imported.left);
        let left: Vec<_> = imported.left.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["dangling", "tuple", "getUser"]);
        assert!(imported.left[0].1.contains("#/$defs/no"), "{:?}", imported.left);
        assert_eq!(imported.operations[4]["inputSchema"]["properties"]["a"], json!({ "type": ["string", "null"] }));
        let some = server(&["2fa"], &[]).wrap(tools().into_iter()).unwrap();
        assert_eq!((some.operations.len(), some.left.len()), (1, 0));
        assert_eq!(server(&[], &["2fa"]).wrap(tools().into_iter()).unwrap().operations.len(), 4);
        assert!(server(&["nobody"], &[]).wrap(tools().into_iter()).is_err());
    }

    #[test]
    fn import_takes_a_server_of_401_tools() {
        let tools = (0..401).map(|n| tool(&format!("tool{n}"), json!({ "type": "object" })));
        assert_eq!(server(&[], &[]).wrap(tools).unwrap().operations.len(), 401);
    }
}
