//! The one table of HTTP endpoints: every one there is, with how it is called, who may, what it
//! costs and what it emits. Serving, the authorizer, the OpenAPI document, the deployment's routes,
//! grants, capability lists and the reference are derived from it.

mod access;
mod channels;
mod console;
mod evidence;
mod govern;
mod people;
mod runs;

use crate::{
    Code, Open,
    capability::{CONTRACTS_VERSION, Capabilities, Capability, Offer},
};

/// HTTP method of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

impl Method {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A command changes something and takes an `Idempotency-Key`; a query changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Command,
    Query,
}

/// What a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// The API key of a workspace, as a bearer token.
    ApiKey,
    /// The warrant of the call that it answers, as a bearer token.
    Warrant,
    /// The cookie of a session: a person who signed in.
    Session,
    /// The token in its own path: a link that one person was sent.
    Link,
    /// The signature of a provider of messages, over the raw request.
    Signed,
}

/// What an endpoint answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// An operation: JSON in, JSON out.
    Json,
    /// A page: GET shows it and changes nothing, POST takes a form.
    Html,
    /// Server-sent events.
    EventStream,
    /// A file that pages need. Its name holds the digest of its content.
    Asset,
}

/// What an answer costs the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A kill switch: waits for nobody's work.
    Urgent,
    Light,
    /// Processor time that grows with what is asked or stored: done in its workspace's turn.
    Heavy,
}

/// What the text of a query parameter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
}

/// One endpoint. The shapes of its request and answer are in [`crate::openapi`]: what serves an
/// endpoint need not carry what describes it.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Key without `controlPlane.`.
    pub name: &'static str,
    pub side: Side,
    pub method: Method,
    /// Path below the host; `{executionId}` and the like are path parameters.
    pub path: &'static str,
    /// Function package that serves it.
    pub function: &'static str,
    pub auth: Auth,
    pub media: Media,
    /// Grant without `control-plane.`. Empty: any key of a workspace.
    pub grant: &'static str,
    pub capability: Capability,
    pub cost: Cost,
    /// False: in the table, not in the OpenAPI, answers 404 `CAPABILITY_MISSING`.
    pub offered: bool,
    /// HTTP status of success.
    pub success: u16,
    pub summary: &'static str,
    /// Beside those that any endpoint can return.
    pub codes: &'static [Code],
    /// Keys of events without `controlPlane.`.
    pub emits: &'static [&'static str],
    /// Query parameters that are something else than text.
    pub parameters: &'static [(&'static str, Parameter)],
}

/// What all rows share unless they say otherwise.
const BASE: Endpoint = Endpoint {
    name: "",
    side: Side::Command,
    method: Method::Post,
    path: "",
    function: "",
    auth: Auth::ApiKey,
    media: Media::Json,
    grant: "",
    capability: Capability::Core,
    cost: Cost::Light,
    offered: true,
    success: 200,
    summary: "",
    codes: &[],
    emits: &[],
    parameters: &[],
};

const TABLES: [&[Endpoint]; 7] = [
    runs::TABLE,
    people::TABLE,
    channels::TABLE,
    evidence::TABLE,
    govern::TABLE,
    access::TABLE,
    console::TABLE,
];

impl Endpoint {
    /// `controlPlane.` and the name.
    pub fn key(&self) -> String {
        format!("controlPlane.{}", self.name)
    }

    /// The grant that it asks for, in full.
    pub fn grant_key(&self) -> Option<String> {
        (!self.grant.is_empty()).then(|| format!("control-plane.{}", self.grant))
    }

    /// Whether it takes an `Idempotency-Key`.
    pub fn takes_idempotency_key(&self) -> bool {
        self.auth == Auth::ApiKey && self.side == Side::Command
    }

    /// Whether it is a page that a browser is led to: shown by GET.
    pub const fn is_page(&self) -> bool {
        matches!(self.media, Media::Html) && matches!(self.method, Method::Get)
    }

    fn is_at(&self, method: &str, path: &str) -> bool {
        // HEAD is answered as GET without a body.
        let method = if method == "HEAD" { "GET" } else { method };
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        self.method.as_str() == method
            && loop {
                match (ours.next(), theirs.next()) {
                    (None, None) => break true,
                    (Some(our), Some(their)) if our == their || our.starts_with('{') => {}
                    _ => break false,
                }
            }
    }
}

/// Every endpoint.
pub fn all() -> impl Iterator<Item = &'static Endpoint> {
    TABLES.into_iter().flatten()
}

/// Every operation: what clients call.
pub fn operations() -> impl Iterator<Item = &'static Endpoint> {
    all().filter(|endpoint| endpoint.media == Media::Json)
}

/// The endpoint that a request is for, by its method and path.
pub fn at(method: &str, path: &str) -> Option<&'static Endpoint> {
    all().find(|endpoint| endpoint.is_at(method, path))
}

/// The endpoint of a name. In a `const` block a name that is not in the table does not compile.
#[expect(clippy::panic, clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub const fn named(name: &str) -> &'static Endpoint {
    let mut table = 0;
    while table < TABLES.len() {
        let mut row = 0;
        while row < TABLES[table].len() {
            if is_same(TABLES[table][row].name, name) {
                return &TABLES[table][row];
            }
            row += 1;
        }
        table += 1;
    }
    panic!("no endpoint has this name")
}

/// The page of a name: where a browser may be led. What is no page does not compile.
#[expect(clippy::panic, reason = "evaluated by the compiler")]
pub const fn page(name: &str) -> &'static Endpoint {
    let endpoint = named(name);
    if !endpoint.is_page() {
        panic!("no page has this name")
    }
    endpoint
}

#[expect(clippy::indexing_slicing, reason = "below the length; evaluated by the compiler")]
const fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

/// Codes any endpoint can return.
pub const COMMON: &[Code] = &[
    Code::BadRequest,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::Conflict,
    Code::ValidationFailed,
    Code::RateLimited,
    Code::InternalError,
    Code::Timeout,
];

/// Fields that every command takes: what authentication says, said again. What says otherwise is
/// refused with 403.
pub const IDENTITY: &[(&str, &str)] = &[
    ("workspaceId", "the authenticated workspace"),
    ("actorId", "the authenticated actor"),
    ("approvedBy", "the authenticated actor"),
    ("rejectedBy", "the authenticated actor"),
    ("cancelledBy", "the authenticated actor"),
    ("disabledBy", "the authenticated actor"),
];

/// The discovery document of a deployment that offers `enabled`.
pub fn capabilities(enabled: &[Capability]) -> Capabilities {
    let offered = |capability: Capability| {
        enabled.contains(&capability)
            && capability.requires().iter().all(|needed| enabled.contains(needed))
    };
    let operations = |capability: Capability| {
        all()
            .filter(|endpoint| endpoint.auth == Auth::ApiKey && endpoint.capability == capability)
            .filter(|endpoint| endpoint.offered && offered(capability))
            .map(Endpoint::key)
            .collect()
    };
    Capabilities {
        contracts_version: CONTRACTS_VERSION.to_owned(),
        capabilities: Capability::ALL
            .into_iter()
            .map(|key| Offer {
                key: key.into(),
                version: CONTRACTS_VERSION.to_owned(),
                offered: offered(key),
                requires: key.requires().iter().copied().map(Open::from).collect(),
                operations: operations(key),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_places_are_unique() {
        let names: BTreeSet<_> = all().map(|endpoint| endpoint.name).collect();
        let places: BTreeSet<_> =
            all().map(|endpoint| (endpoint.method.as_str(), endpoint.path)).collect();
        assert!(names.len() == all().count() && places.len() == all().count());
    }

    #[test]
    fn a_request_is_for_the_endpoint_of_its_path() {
        let name = |method: &str, path: &str| at(method, path).map(|endpoint| endpoint.name);
        for endpoint in all() {
            let path = endpoint.path.replace("{executionId}", "exe_1").replace("{stepId}", "a");
            let path = path
                .replace("{skillKey}", "crm")
                .replace("{webhookId}", "w")
                .replace("{file}", "f")
                .replace("{keyId}", "k");
            assert_eq!(name(endpoint.method.as_str(), &path), Some(endpoint.name));
        }
        assert_eq!(name("HEAD", "/v1/executions"), Some("execution.list"));
        assert_eq!(name("DELETE", "/v1/executions"), None);
        assert_eq!(name("GET", "/v1/executions/"), Some("execution.get"));
        assert_eq!(name("GET", "/v1/executions/a/b"), None);
    }

    #[test]
    fn bounded_work_kill_switches_are_urgent_and_what_reads_much_is_heavy() {
        let of = |cost| {
            all().filter(|endpoint| endpoint.cost == cost).map(|endpoint| endpoint.name).collect()
        };
        let urgent: BTreeSet<&str> = of(Cost::Urgent);
        let switches = [
            "execution.cancel",
            "execution.abort",
            "freeze.set",
            "skill.disable",
            "key.revoke",
            "person.remove",
            "link.revoke",
            "mandate.revoke",
            "health",
            "console.cancel",
            "console.abort",
            "console.freeze",
            "console.key.revoke",
            "console.mandate.revoke",
            "console.skill.disable",
        ];
        assert_eq!(urgent, switches.into());
        assert_eq!(named("execution.list").cost, Cost::Heavy);
        assert_eq!(named("execution.get").cost, Cost::Light, "it may wait");
    }

    #[test]
    fn a_page_is_opened_by_no_api_key_and_an_operation_by_no_session() {
        for endpoint in all() {
            let browser = matches!(endpoint.auth, Auth::Session | Auth::Link);
            assert!(!browser || endpoint.media != Media::Json, "{}", endpoint.name);
            let page = endpoint.media != Media::Json;
            assert!(!page || endpoint.auth != Auth::ApiKey, "{}", endpoint.name);
            let form = page && endpoint.method == Method::Post;
            assert!(!form || endpoint.side == Side::Command, "{}", endpoint.name);
            assert!(endpoint.method == Method::Post || endpoint.side == Side::Query);
        }
    }
}
