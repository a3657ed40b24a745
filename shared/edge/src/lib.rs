//! The HTTP edge, the same behind API Gateway and in the embedded server: decode, authenticate,
//! call, encode.
//!
//! What is served comes from the contract's table of endpoints, so that path, method, grant and
//! status are written once.

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::{MethodFilter, on},
};
use contracts::{
    Code, Problem,
    endpoint::{self, Auth, Endpoint, Media, Method, Side},
    json,
};
use engine::{Answer, Caller, Engine};
use http::{HeaderMap, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{collections::HashMap, future::Future, sync::Arc};

mod answer;
mod identity;
pub mod page;
mod request;

pub use answer::{Trace, is_traceparent, refuse, respond};
pub use request::{authenticated, bearer, from_body, read_body};

/// Endpoints and what serves them.
#[derive(Default)]
pub struct Routes {
    router: Router<Arc<Engine>>,
    served: Vec<&'static Endpoint>,
}

/// A request before anything of it was read, for endpoints that no API key opens.
pub struct Received {
    path: HashMap<String, String>,
    /// The query as it stands in the URL; empty where there is none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Received {
    /// A parameter of the path as what it names.
    pub fn named<T: std::str::FromStr>(&self, parameter: &str) -> Answer<T> {
        let text = self.path.get(parameter).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            Problem::new(Code::NotFound, format!("the path's `{parameter}` names nothing"))
        })
    }

    /// A header that stands there once at the most.
    pub fn header(&self, name: &'static str) -> Answer<Option<&str>> {
        let unreadable =
            |_| Problem::new(Code::BadRequest, format!("the header `{name}` is no ASCII text"));
        let value = request::only(&self.headers, name)?;
        value.map(|value| value.to_str().map_err(unreadable)).transpose()
    }
}

impl Routes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation: what a workspace's API key opens.
    pub fn serve<T, R, F, Fut>(self, endpoint: &'static Endpoint, handle: F) -> Self
    where
        T: DeserializeOwned,
        R: Serialize,
        F: Fn(Arc<Engine>, Caller, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<R>> + Send,
    {
        let handler = move |State(engine): State<Arc<Engine>>,
                            Path(path): Path<HashMap<String, String>>,
                            RawQuery(query): RawQuery,
                            headers: HeaderMap,
                            body: Body| {
            let handle = handle.clone();
            async move {
                let trace = Trace::of(&headers, &engine);
                let answer = async {
                    let (caller, value) = operation(
                        &engine,
                        endpoint,
                        &trace,
                        Arrived { path, query, headers: &headers, body },
                    )
                    .await?;
                    let request: T = json::typed(value)?;
                    handle(engine, caller, request).await
                };
                respond(answer.await, endpoint.success, &trace, endpoint.name)
            }
        };
        self.add(endpoint, on(filter(endpoint.method), handler))
    }

    /// Adds an endpoint that is open, or that checks a credential of its own.
    pub fn answer<R, F, Fut>(self, endpoint: &'static Endpoint, handle: F) -> Self
    where
        R: Serialize + 'static,
        F: Fn(Arc<Engine>, Received) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<R>> + Send,
    {
        self.receive(endpoint, handle, |answer, trace| {
            respond(answer, endpoint.success, trace, endpoint.name)
        })
    }

    /// The same, where there may be nothing to say: then the answer is 204 without a body.
    pub fn acknowledge<R, F, Fut>(self, endpoint: &'static Endpoint, handle: F) -> Self
    where
        R: Serialize + 'static,
        F: Fn(Arc<Engine>, Received) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<Option<R>>> + Send,
    {
        self.receive(endpoint, handle, |answer, trace| match answer {
            Ok(None) => answer::nothing(trace),
            said => respond(said, endpoint.success, trace, endpoint.name),
        })
    }

    fn receive<R, F, Fut, E>(self, endpoint: &'static Endpoint, handle: F, encode: E) -> Self
    where
        R: 'static,
        F: Fn(Arc<Engine>, Received) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer<R>> + Send,
        E: Fn(Answer<R>, &Trace) -> Response + Clone + Send + Sync + 'static,
    {
        let handler = move |State(engine): State<Arc<Engine>>,
                            Path(path): Path<HashMap<String, String>>,
                            RawQuery(query): RawQuery,
                            headers: HeaderMap,
                            body: Body| {
            let (handle, encode) = (handle.clone(), encode.clone());
            async move {
                let trace = Trace::of(&headers, &engine);
                let query = query.unwrap_or_default();
                let answer = handle(engine, Received { path, query, headers, body }).await;
                encode(answer, &trace)
            }
        };
        self.add(endpoint, on(filter(endpoint.method), handler))
    }

    /// Adds what others serve.
    pub fn merge(mut self, other: Self) -> Self {
        self.served.extend(other.served);
        Self { router: self.router.merge(other.router), served: self.served }
    }

    /// What is served.
    pub fn served(&self) -> &[&'static Endpoint] {
        &self.served
    }

    /// The router: beside what is served, each operation that is not offered yet answers 404
    /// `CAPABILITY_MISSING`, and what is no endpoint a problem, too.
    pub fn into_router(self) -> Router<Arc<Engine>> {
        let missing = endpoint::all().filter(|endpoint| !endpoint.offered);
        let router = missing.fold(self.router, |router, endpoint| {
            let handler = move |State(engine): State<Arc<Engine>>, headers: HeaderMap| async move {
                let trace = Trace::of(&headers, &engine);
                let answer: Answer<()> =
                    caller(&engine, endpoint, &headers, &trace).await.map(|_| ());
                respond(answer, endpoint.success, &trace, endpoint.name)
            };
            router.route(endpoint.path, on(filter(endpoint.method), handler))
        });
        let refuse = |status: StatusCode, detail: &'static str| {
            move |State(engine): State<Arc<Engine>>, headers: HeaderMap| async move {
                let trace = Trace::of(&headers, &engine);
                let mut problem = Problem::new(Code::NotFound, detail);
                problem.status = status.as_u16();
                respond::<()>(Err(problem), 200, &trace, "unknown")
            }
        };
        router
            .fallback(refuse(
                StatusCode::NOT_FOUND,
                "there is no such route; `GET /v1/capabilities` lists what is offered",
            ))
            .method_not_allowed_fallback(refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "this route takes another method",
            ))
    }

    fn add(
        mut self,
        endpoint: &'static Endpoint,
        method: axum::routing::MethodRouter<Arc<Engine>>,
    ) -> Self {
        self.served.push(endpoint);
        Self { router: self.router.route(endpoint.path, method), served: self.served }
    }
}

/// A request as it came.
struct Arrived<'r> {
    path: HashMap<String, String>,
    query: Option<String>,
    headers: &'r HeaderMap,
    body: Body,
}

// Who asks, and for what. What is the same for every operation is compiled once.
async fn operation(
    engine: &Engine,
    endpoint: &Endpoint,
    trace: &Trace,
    arrived: Arrived<'_>,
) -> Answer<(Caller, Value)> {
    let Arrived { path, query, headers, body } = arrived;
    let caller = caller(engine, endpoint, headers, trace).await?;
    let value: Map<String, Value> = match endpoint.method {
        Method::Get => {
            request::from_query(query.as_deref().unwrap_or_default(), endpoint.parameters)?
        }
        Method::Post => {
            request::refuse_query(query.as_deref().unwrap_or_default())?;
            from_body(headers, body).await?
        }
    };
    let value = match endpoint.side {
        Side::Command => identity::checked(value, &caller)?,
        Side::Query => value,
    };
    Ok((caller, Value::Object(request::with_path(value, path)?)))
}

pub(crate) fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
    }
}

// Who shows the key, when it opens the endpoint and the deployment offers it.
async fn caller(
    engine: &Engine,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    trace: &Trace,
) -> Answer<Caller> {
    if endpoint.auth != Auth::ApiKey {
        let message = "no API key opens this";
        let missing = !endpoint.offered && endpoint.media != Media::Json;
        let code = if missing { Code::CapabilityMissing } else { Code::Forbidden };
        return Err(Problem::new(code, message));
    }
    let mut caller = authenticated(engine, headers).await?;
    caller.traceparent = Some(trace.parent().to_owned());
    if endpoint.takes_idempotency_key()
        && let Some(key) = request::only(headers, "idempotency-key")?
    {
        let key = key
            .to_str()
            .map_err(|_| Problem::new(Code::BadRequest, "`Idempotency-Key` is ASCII text"))?;
        caller.idempotency_key = Some(key.to_owned());
    }
    let enabled = &engine.config().capabilities;
    let needs = endpoint.capability.requires().iter().chain([&endpoint.capability]);
    if !endpoint.offered || !needs.clone().all(|capability| enabled.contains(capability)) {
        let message = format!("this deployment does not offer `{}`", endpoint.key());
        return Err(Problem::new(Code::CapabilityMissing, message));
    }
    caller.require_endpoint(endpoint)?;
    Ok(caller)
}
