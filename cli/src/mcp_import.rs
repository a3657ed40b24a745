//! The tools of an MCP server as operations of a skill, each pinned by its schemas. What cannot be
//! one is left out and named; what a server says of its own tools is a hint: people look at it
//! before they sign.

use crate::error::CliError;
use clap::Args;
use contracts::{limits::SKILL_OPERATIONS_MAX, manifest::Manifest};
use countersign_tools::{
    Dispatch,
    mcp::{self, ListingError},
};
use cs_core::{artifact, skill::Skill};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::BufRead as _};

/// Of a tool's name so much goes into its key, with room for a number behind it.
const KEY_CHARS: usize = 58;

#[derive(Args)]
pub struct ServerArgs {
    /// Wrap the tools of an MCP server at this URL (streamable HTTP).
    #[arg(long = "mcp", value_name = "URL")]
    url: Option<String>,
    /// Send a header to that server, with the value of an environment variable; `NAME=-` reads the
    /// value from standard input. May be given several times.
    #[arg(long = "header", value_name = "NAME=VARIABLE", requires = "url")]
    headers: Vec<String>,
    /// Of that server only these tools; may be given several times.
    #[arg(long, value_name = "TOOL", requires = "url")]
    only: Vec<String>,
    /// Of that server all but these tools; may be given several times.
    #[arg(long, value_name = "TOOL", requires = "url", conflicts_with = "only")]
    except: Vec<String>,
}

impl ServerArgs {
    /// The server, if one is named.
    pub fn server(self) -> Result<Option<Server>, CliError> {
        let Some(url) = self.url else { return Ok(None) };
        // INVARIANT (fail-closed): what is written into a manifest is signed and shown.
        let parsed = url::Url::parse(&url)
            .map_err(|error| CliError::Local(format!("--mcp: not a URL: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(CliError::Local("--mcp: the URL is not http or https".into()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let message = "--mcp: a URL with a user or a password would be in the manifest, for \
                           everybody to read; `--header Authorization=VARIABLE` hands one over";
            return Err(CliError::Local(message.into()));
        }
        let variable = |name: &str| std::env::var(name).ok();
        let headers = self.headers.iter().map(|header| read_header(header, variable));
        let headers = headers.collect::<Result<_, _>>()?;
        Ok(Some(Server { url, headers, only: self.only, except: self.except }))
    }
}

// A header's name and value; the value is never among the arguments.
fn read_header(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(String, String), CliError> {
    let (name, from) = text.split_once('=').ok_or_else(|| {
        CliError::Local("--header: name a variable that holds the value: NAME=VARIABLE".into())
    })?;
    let value = match from {
        "-" => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(CliError::local)?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
        // What is no name of a variable may be the value itself: it is not repeated.
        from => variable(from).ok_or_else(|| {
            let message = format!(
                "--header {name}: there is no such environment variable; the value itself is not \
                 given here"
            );
            CliError::Local(message)
        })?,
    };
    Ok((name.to_owned(), value))
}

/// A server, and which of its tools are wanted: all, unless some are named.
pub struct Server {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub only: Vec<String>,
    pub except: Vec<String>,
}

/// What became of a server's tools.
#[derive(Default)]
pub struct Imported {
    pub operations: Vec<Value>,
    /// Tools that cannot be operations, and why.
    pub left_out: Vec<(String, String)>,
}

impl Server {
    /// Lists the tools and wraps those that can be.
    pub async fn import(&self) -> Result<Imported, CliError> {
        let tools = Dispatch::new().map_err(CliError::local)?;
        let tools =
            tools.mcp_tools(&self.url, &self.headers).await.map_err(|error| match error {
                ListingError::Header(_) => CliError::Local(format!("--header: {error}")),
                ListingError::Server(_) => {
                    CliError::Server(format!("the MCP server at {}: {error}", self.url))
                }
            })?;
        let tools = tools.into_iter().map(|tool| {
            let digest = json!(mcp::schema_digest(&tool));
            (json!(tool), digest)
        });
        let imported = self.wrap(tools)?;
        if imported.operations.is_empty() {
            let first = imported.left_out.first();
            let why = first.map_or(String::new(), |(tool, why)| format!(" `{tool}`: {why}"));
            return Err(CliError::Server(format!(
                "{} has no tool that can be an operation.{why}",
                self.url
            )));
        }
        Ok(imported)
    }

    // Tools as the protocol writes them, each with the digest of its schemas.
    fn wrap(&self, tools: impl Iterator<Item = (Value, Value)>) -> Result<Imported, CliError> {
        let (mut imported, mut keys, mut names) =
            (Imported::default(), BTreeSet::new(), BTreeSet::new());
        for (tool, digest) in tools {
            let name = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let wanted = if self.only.is_empty() {
                !self.except.contains(&name)
            } else {
                self.only.contains(&name)
            };
            let is_new = names.insert(name.clone());
            if !wanted {
                continue;
            }
            if !is_new {
                imported.left_out.push((name, "the server lists this name twice".into()));
                continue;
            }
            if imported.operations.len() == SKILL_OPERATIONS_MAX {
                let why = format!(
                    "a skill has at most {SKILL_OPERATIONS_MAX} operations; `--only` chooses"
                );
                imported.left_out.push((name, why));
                continue;
            }
            let operation = self.operation(&tool, &name, key(&name, &keys), digest);
            match fault(&operation) {
                None => {
                    keys.extend(operation.get("key").and_then(Value::as_str).map(str::to_owned));
                    imported.operations.push(operation);
                }
                Some(why) => imported.left_out.push((name, why)),
            }
        }
        match self.only.iter().chain(&self.except).find(|name| !names.contains(*name)) {
            Some(name) => Err(CliError::Local(format!("{} has no tool `{name}`", self.url))),
            None => Ok(imported),
        }
    }

    fn operation(&self, tool: &Value, name: &str, key: String, digest: Value) -> Value {
        let hint =
            |name: &str| tool.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
        let (effect, tier) =
            match (hint("readOnlyHint"), hint("idempotentHint"), hint("destructiveHint")) {
                (Some(true), _, _) => ("read", "low"),
                (_, Some(true), Some(false)) => ("idempotent", "medium"),
                (_, _, Some(false)) => ("non_idempotent", "medium"),
                _ => ("non_idempotent", "high"),
            };
        // A tool without one answers with `content` or with an object of its own making.
        let schema = |name: &str| {
            let given = tool.get(name).filter(|schema| !schema.is_null()).cloned();
            typed(given.unwrap_or_else(|| json!({ "type": "object" })))
        };
        json!({
            "key": key,
            "title": tool.get("title").and_then(Value::as_str).unwrap_or(name),
            "description": tool.get("description"),
            "inputSchema": schema("inputSchema"),
            "outputSchema": schema("outputSchema"),
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
        Server {
            url: "https://mcp.example".into(),
            headers: Vec::new(),
            only: names(only),
            except: names(except),
        }
    }

    fn tool(name: &str, schema: Value) -> (Value, Value) {
        let digest = format!("sha256:{}", "0".repeat(64));
        (
            json!({ "name": name, "inputSchema": schema, "annotations": { "readOnlyHint": true } }),
            json!(digest),
        )
    }

    #[test]
    fn import_takes_all_that_can_be_wrapped_and_names_the_rest() {
        let plain = || json!({ "type": "object" });
        let tuple = json!({ "type": "object", "properties": { "a": { "type": "array",
            "items": [{}, {}] } } });
        let mut draft_7 = tuple.clone();
        draft_7["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        let nullable = json!({ "type": "object", "properties": { "a": { "type": "string",
            "nullable": true } } });
        let tools = || {
            [
                tool("getUser", plain()),
                tool("get-user", plain()),
                tool("2fa", plain()),
                tool(
                    "dangling",
                    json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/no" } } }),
                ),
                tool("tuple", tuple.clone()),
                tool("tuple7", draft_7.clone()),
                tool("nullable", nullable.clone()),
                tool("getUser", plain()),
            ]
        };
        let imported = server(&[], &[]).wrap(tools().into_iter()).unwrap();
        let keys: Vec<_> = imported
            .operations
            .iter()
            .map(|operation| operation["key"].as_str().unwrap())
            .collect();
        assert_eq!(
            keys,
            ["get-user", "get-user-2", "tool-2fa", "tuple7", "nullable"],
            "{:?}",
            imported.left_out
        );
        let left: Vec<_> = imported.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["dangling", "tuple", "getUser"]);
        assert!(imported.left_out[0].1.contains("#/$defs/no"), "{:?}", imported.left_out);
        assert_eq!(
            imported.operations[4]["inputSchema"]["properties"]["a"],
            json!({ "type": ["string", "null"] })
        );
        let some = server(&["2fa"], &[]).wrap(tools().into_iter()).unwrap();
        assert_eq!((some.operations.len(), some.left_out.len()), (1, 0));
        assert_eq!(server(&[], &["2fa"]).wrap(tools().into_iter()).unwrap().operations.len(), 4);
        assert!(server(&["nobody"], &[]).wrap(tools().into_iter()).is_err());
    }

    #[test]
    fn a_header_has_its_value_from_the_environment() {
        let variable = |name: &str| (name == "TOKEN").then(|| "Bearer x".to_owned());
        let header = |text: &str| read_header(text, variable).map_err(|error| error.to_string());
        assert_eq!(header("Authorization=TOKEN"), Ok(("Authorization".into(), "Bearer x".into())));
        let error = header("Authorization=Bearer s3cret").unwrap_err();
        assert!(!error.contains("s3cret"), "a value is not repeated: {error}");
        assert!(header("Authorization").is_err());
    }

    #[test]
    fn a_url_with_a_password_is_refused() {
        let server = |url: &str| {
            let (headers, only, except) = (Vec::new(), Vec::new(), Vec::new());
            ServerArgs { url: Some(url.into()), headers, only, except }.server()
        };
        assert!(server("https://mcp.example/mcp").is_ok_and(|server| server.is_some()));
        for url in ["https://ada:s3cret@mcp.example", "https://ada@mcp.example", "stdio:x", "x"] {
            let error = server(url).err().unwrap().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_tool_without_an_output_schema_may_answer_any_object() {
        let imported =
            server(&[], &[]).wrap([tool("any", json!({ "type": "object" }))].into_iter());
        let operation = &imported.unwrap().operations[0];
        assert_eq!(operation["outputSchema"], json!({ "type": "object" }));
    }

    #[test]
    fn import_takes_a_server_of_401_tools() {
        let tools = (0..401).map(|n| tool(&format!("tool{n}"), json!({ "type": "object" })));
        assert_eq!(server(&[], &[]).wrap(tools).unwrap().operations.len(), 401);
    }
}
