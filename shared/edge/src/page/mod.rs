//! Pages: what a browser shows and the forms it sends. Served from the same table of endpoints as
//! operations.
//!
//! Architecture invariant: a page or form is answered by [`Reply`], whose headers are set in one
//! place; a form reaches its handler only after its origin and its token were looked at; and a
//! browser is led to pages of the table only.

mod cookie;
mod form;
mod guard;
mod headers;
mod reply;

pub use form::Form;
pub use reply::{Place, Reply, escaped};

use crate::{Routes, Trace, filter, request};
use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::on,
};
use contracts::{
    Code, Problem, Timestamp,
    endpoint::{self, Auth, Endpoint, Method},
    json,
    limits::{PAGE_BYTES_MAX, PAGE_HALVINGS_MAX},
};
use cookie::Cookies;
use engine::{Answer, Caller, Engine};
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{collections::HashMap, future::Future, sync::Arc};

/// The page where people sign in.
const SIGN_IN: &str = "/console/sign-in";

/// What the gateway took from a request's path before it came here: the stage, or the path that a
/// domain is mapped from. It says so itself; a header could be anybody's.
#[derive(Clone, Debug)]
pub struct Prefix(pub String);

/// A request for a page, after its credential was looked at.
#[derive(Clone)]
pub struct Visit {
    path: HashMap<String, String>,
    query: Map<String, Value>,
    pub headers: HeaderMap,
    /// What paths begin with where the deployment is not at the root of its host.
    pub base: String,
    /// Whose session it is: always there where the endpoint asks for one.
    signed_in: Option<SignedIn>,
    /// What forms of this page carry.
    pub csrf: String,
    flow: Option<String>,
    second_factor: Option<String>,
    trace: String,
    /// How often the page was made and had no room for all of its rows.
    fewer: u32,
}

/// Who signed in, and until when.
#[derive(Clone)]
pub struct SignedIn {
    pub caller: Caller,
    pub ends_at: Timestamp,
    token: String,
}

impl Visit {
    /// A parameter of the path as what it names.
    pub fn named<T: std::str::FromStr>(&self, parameter: &str) -> Answer<T> {
        let text = self.path.get(parameter).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            Problem::new(Code::NotFound, format!("the path's `{parameter}` names nothing"))
        })
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// As many rows as the page has room for: so many, or half as many again and again.
    pub fn rows<N: std::ops::Shr<u32, Output = N> + Ord + From<u8>>(&self, most: N) -> N {
        (most >> self.fewer).max(N::from(1))
    }

    /// A page of what is known already, with as many rows as it has room for.
    pub fn fit(mut self, make: impl Fn(&Self) -> Answer<Reply>) -> Answer<Reply> {
        loop {
            let reply = make(&self)?;
            if !self.takes_fewer(&reply) {
                return Ok(reply);
            }
        }
    }

    // INVARIANT (bounded-work): a page that is too large is made again with fewer rows; what
    // strangers wrote is long only where somebody meant it to be.
    fn takes_fewer(&mut self, reply: &Reply) -> bool {
        let fewer = reply.bytes() > PAGE_BYTES_MAX && self.fewer < PAGE_HALVINGS_MAX;
        self.fewer += u32::from(fewer);
        fewer
    }

    /// Whether a page has hardly any room left, so that pictures have none.
    pub const fn is_crowded(&self) -> bool {
        self.fewer > 1
    }

    /// What the parameters of the query are named, in order.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.query.keys().map(String::as_str)
    }

    /// The query as what an operation takes, without the names that are the page's own. Empty
    /// fields of a search are absent.
    pub fn request<T: DeserializeOwned>(&self, endpoint: &Endpoint, own: &[&str]) -> Answer<T> {
        let mut map = self.query.clone();
        map.retain(|name, value| {
            !own.contains(&name.as_str()) && value.as_str().is_none_or(|text| !text.is_empty())
        });
        form::typed(map, endpoint.parameters)
    }

    /// Whose session it is.
    pub fn signed_in(&self) -> Answer<&SignedIn> {
        self.signed_in
            .as_ref()
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "nobody has signed in"))
    }

    /// The caller of the session.
    pub fn caller(&self) -> Answer<&Caller> {
        self.signed_in().map(|signed_in| &signed_in.caller)
    }

    /// The token of the session, for ending it.
    pub fn session_token(&self) -> Answer<&str> {
        self.signed_in().map(|signed_in| signed_in.token.as_str())
    }

    /// The sign-in at the identity provider that this browser began.
    pub fn flow(&self) -> Option<&str> {
        self.flow.as_deref()
    }

    /// What shows that the person signed in once more for a decision, in this browser.
    pub fn second_factor(&self) -> Option<&str> {
        self.second_factor.as_deref()
    }

    /// Trace id of the request.
    pub fn trace_id(&self) -> &str {
        &self.trace
    }
}

impl Routes {
    /// Adds a page: GET shows it.
    pub fn page<F, Fut>(self, endpoint: &'static Endpoint, handle: F) -> Self
    where
        F: Fn(Arc<Engine>, Visit) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<Reply>> + Send,
    {
        let handler = move |State(engine): State<Arc<Engine>>,
                            Path(path): Path<HashMap<String, String>>,
                            RawQuery(query): RawQuery,
                            prefix: Option<Extension<Prefix>>,
                            headers: HeaderMap| {
            let handle = handle.clone();
            async move {
                let door = Door::new(&engine, endpoint, &headers, prefix);
                let seen = door.show(path, query, headers).await;
                let reply = match seen {
                    Ok(visit) => fitting(&handle, &engine, visit).await,
                    Err(problem) => Err(problem),
                };
                door.answer(reply)
            }
        };
        self.add(endpoint, on(filter(endpoint.method), handler))
    }

    /// Adds a form that a page sends by POST.
    pub fn form<F, Fut>(self, endpoint: &'static Endpoint, handle: F) -> Self
    where
        F: Fn(Arc<Engine>, Visit, Form) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<Reply>> + Send,
    {
        let handler = move |State(engine): State<Arc<Engine>>,
                            Path(path): Path<HashMap<String, String>>,
                            RawQuery(query): RawQuery,
                            prefix: Option<Extension<Prefix>>,
                            headers: HeaderMap,
                            body: Body| {
            let handle = handle.clone();
            async move {
                let door = Door::new(&engine, endpoint, &headers, prefix);
                let sent = door.take(path, query, headers, body).await;
                let reply = match sent {
                    Ok((visit, form)) => handle(engine.clone(), visit, form).await,
                    Err(problem) => Err(problem),
                };
                door.answer(reply)
            }
        };
        self.add(endpoint, on(filter(endpoint.method), handler))
    }

    /// Adds a form that is an operation: its fields are those of the operation's request, and the
    /// browser is led to a page afterwards, which says what was done.
    pub fn act<T, R, F, Fut>(
        self,
        endpoint: &'static Endpoint,
        lands_on: &'static Endpoint,
        handle: F,
    ) -> Self
    where
        T: DeserializeOwned + Send,
        F: Fn(Arc<Engine>, Caller, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<R>> + Send,
    {
        self.form(endpoint, move |engine, visit, form| {
            let handle = handle.clone();
            async move {
                let mut caller = visit.caller()?.clone();
                caller.idempotency_key = form.once.clone();
                let place = Place::of(lands_on, &visit).done(endpoint);
                let map = request::with_path(form.fields, visit.path)?;
                let request: T = form::typed(map, endpoint.parameters)?;
                handle(engine, caller, request).await?;
                Ok(Reply::go(place))
            }
        })
    }
}

// The same of a page that is made from what it asks for.
async fn fitting<F, Fut>(handle: &F, engine: &Arc<Engine>, mut visit: Visit) -> Answer<Reply>
where
    F: Fn(Arc<Engine>, Visit) -> Fut,
    Fut: Future<Output = Answer<Reply>>,
{
    loop {
        let reply = handle(engine.clone(), visit.clone()).await?;
        if !visit.takes_fewer(&reply) {
            return Ok(reply);
        }
    }
}

/// What every page and form passes before it is handled, and after.
struct Door<'d> {
    engine: &'d Arc<Engine>,
    endpoint: &'static Endpoint,
    trace: Trace,
    cookies: Cookies,
    base: String,
    /// The path that was asked for, for coming back after signing in.
    back: std::sync::OnceLock<String>,
}

impl<'d> Door<'d> {
    fn new(
        engine: &'d Arc<Engine>,
        endpoint: &'static Endpoint,
        headers: &HeaderMap,
        prefix: Option<Extension<Prefix>>,
    ) -> Self {
        let trace = Trace::of(headers, engine);
        let cookies = Cookies::of(engine, headers);
        let base = guard::base(engine, prefix.map(|Extension(prefix)| prefix));
        Self { engine, endpoint, trace, cookies, base, back: std::sync::OnceLock::new() }
    }

    // A page is asked for.
    async fn show(
        &self,
        path: HashMap<String, String>,
        query: Option<String>,
        headers: HeaderMap,
    ) -> Answer<Visit> {
        let query = request::from_query(query.as_deref().unwrap_or_default(), &[])?;
        let code = query.get("code").and_then(Value::as_str);
        let _ = self.back.set(reply::way_back(self.endpoint, &path, code));
        let signed_in = self.signed_in().await?;
        let csrf = self.cookies.form_token(self.engine).await;
        Ok(self.visit((path, query), headers, signed_in, csrf))
    }

    fn visit(
        &self,
        (path, query): (HashMap<String, String>, Map<String, Value>),
        headers: HeaderMap,
        signed_in: Option<SignedIn>,
        csrf: String,
    ) -> Visit {
        let (base, trace) = (self.base.clone(), self.trace.id().to_owned());
        let flow = self.cookies.flow().map(str::to_owned);
        let second_factor = self.cookies.second_factor().map(str::to_owned);
        Visit { path, query, headers, base, signed_in, csrf, flow, second_factor, fewer: 0, trace }
    }

    // A form is sent. Where it comes from is looked at before anything of it is read.
    async fn take(
        &self,
        path: HashMap<String, String>,
        query: Option<String>,
        headers: HeaderMap,
        body: Body,
    ) -> Answer<(Visit, Form)> {
        guard::check_origin(self.engine, &headers)?;
        request::refuse_query(query.as_deref().unwrap_or_default())?;
        let signed_in = self.signed_in().await?;
        let mut form = Form::read(&headers, body).await?;
        // A link has nonces of its own.
        if self.endpoint.auth != Auth::Link {
            let anybody = self.endpoint.auth == Auth::None;
            self.cookies.check_form_token(form.csrf.take().as_deref(), anybody)?;
        }
        let csrf = self.cookies.form_token(self.engine).await;
        Ok((self.visit((path, Map::new()), headers, signed_in, csrf), form))
    }

    // Where the endpoint asks for a session it is there and may; elsewhere it may be there.
    async fn signed_in(&self) -> Answer<Option<SignedIn>> {
        let found = match self.cookies.session() {
            Some(token) => self.session(token).await,
            None => Err(Problem::new(Code::Unauthenticated, "sign in to see this page")),
        };
        if self.endpoint.auth != Auth::Session {
            return Ok(found.ok());
        }
        let signed_in = found?;
        signed_in.caller.require_endpoint(self.endpoint)?;
        Ok(Some(signed_in))
    }

    async fn session(&self, token: &str) -> Answer<SignedIn> {
        let engine::Session { mut caller, ends_at } = self.engine.sessions.find(token).await?;
        caller.traceparent = Some(self.trace.parent().to_owned());
        caller.second_factor = self.cookies.second_factor().map(str::to_owned);
        Ok(SignedIn { caller, ends_at, token: token.to_owned() })
    }

    fn answer(&self, reply: Answer<Reply>) -> Response {
        let reply = reply.unwrap_or_else(|problem| self.explain(problem));
        headers::response(reply, self.endpoint, &self.base, &self.cookies, &self.trace)
    }

    // A refusal is a page that explains itself.
    fn explain(&self, mut problem: Problem) -> Reply {
        self.trace.id().clone_into(&mut problem.trace_id);
        let (operation, code) = (self.endpoint.name, problem.code);
        if problem.status >= 500 {
            tracing::error!(operation, %code, detail = problem.detail,
                trace_id = problem.trace_id, "failed");
        } else {
            tracing::debug!(operation, %code, detail = problem.detail, "refused");
        }
        let to_sign_in =
            problem.code == Code::Unauthenticated && self.endpoint.auth == Auth::Session;
        let back = match (self.endpoint.method, self.back.get()) {
            (Method::Get, Some(back)) => format!("{SIGN_IN}{back}"),
            (Method::Get | Method::Post, _) => SIGN_IN.to_owned(),
        };
        let link = match (to_sign_in, self.endpoint.auth) {
            (true, _) => Some(("Sign in", back.as_str())),
            (false, Auth::Session) => Some(("To the overview", "/console")),
            (false, _) if self.endpoint.path.starts_with(SIGN_IN) => {
                Some(("Sign in again", SIGN_IN))
            }
            (false, _) => None,
        };
        // A browser that came from elsewhere sent no cookie, for it is strict; led on from here it
        // does.
        let refresh = (to_sign_in && self.endpoint.is_page()).then(|| back.clone());
        match pages::explain(&self.base, &problem, link) {
            Ok(html) => Reply::page(html).with_status(problem.status).leading_to(refresh),
            Err(error) => {
                tracing::error!(operation, %error, "a page of a problem cannot be written");
                Reply::text(problem.status, problem.detail)
            }
        }
    }
}

/// The workspace of a request's session, if it has one.
pub async fn session_workspace(engine: &Engine, headers: &HeaderMap) -> Option<String> {
    let cookies = Cookies::of(engine, headers);
    let session = engine.sessions.find(cookies.session()?).await.ok()?;
    Some(session.caller.workspace.to_string())
}

/// A path of ours that a browser may be led to after signing in: of a page that a session opens.
pub fn place_of_path(path: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
    let ours = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain);
    let endpoint = endpoint::at("GET", path).filter(|_| ours)?;
    (endpoint.is_page() && endpoint.auth == Auth::Session).then(|| path.to_owned())
}

// What an answer of a page that cannot be written is.
pub(crate) fn unwritten(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(Code::InternalError, format!("the page cannot be written: {error}"))
}

impl Reply {
    /// A page in its frame, where it could be rendered.
    pub fn rendered<E: std::fmt::Display>(html: Result<pages::Html, E>) -> Answer<Self> {
        html.map(Self::page).map_err(|error| unwritten(&error))
    }
}

// Kept here, so that reading JSON has one door.
fn typed_value<T: DeserializeOwned>(map: Map<String, Value>) -> Answer<T> {
    json::typed(Value::Object(map))
}
