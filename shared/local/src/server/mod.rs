//! The embedded HTTP server: connections that are counted, times that end, and work that is kept
//! apart.
//!
//! INVARIANT (bounded-work): whoever connects holds a limited number of connections for a limited
//! time; the head of a request, its body and its rate are limited; and requests that cost processor
//! time run on threads of their own, so that the health check and everybody's small requests are
//! answered meanwhile.

mod connections;
mod heavy;
mod rate;

use crate::{
    compute::{Compute, Ended},
    table::urgently,
};
use axum::{Router, body::Body, response::IntoResponse as _};
use connections::{Connections, Held};
use contracts::{Code, Problem, endpoint::Cost};
use engine::Engine;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rate::Rates;
use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// Longest wait for the head of a request, from the moment the connection is there or the answer
/// before it was sent.
const HEAD: Duration = Duration::from_secs(30);
/// Longest wait for the body of a request.
const BODY: Duration = Duration::from_secs(20);
/// Longest time of a request: longer than the longest poll.
const REQUEST: Duration = Duration::from_secs(120);
/// Largest head of a request, in bytes: its line and its headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Whose places are all taken comes again after so many seconds.
const RETRY_SECONDS: u64 = 1;
/// Longest path and query, in bytes.
const TARGET_BYTES_MAX: usize = 8 * 1024;

/// A running server.
pub(crate) struct Server {
    router: Router,
    connections: Connections,
    rates: Rates,
    compute: Arc<Compute>,
    engine: Weak<Engine>,
}

impl Server {
    /// A server of these routes.
    pub(crate) fn new(router: Router, compute: Arc<Compute>, engine: &Arc<Engine>) -> Arc<Self> {
        let (connections, rates) = (Connections::default(), Rates::default());
        Arc::new(Self { router, connections, rates, compute, engine: Arc::downgrade(engine) })
    }

    /// Accepts connections until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    if let Some(held) = self.connections.admit(peer.ip()) {
                        tokio::spawn(self.clone().serve(stream, peer, held));
                    }
                }
                Err(error) => {
                    // No descriptor is left, or the connection is gone already.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Answers what was asked for already, for so long; who accepts no more connections calls this.
    pub(crate) async fn drain(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        while self.connections.close_silent() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut held: Held) {
        let ticket = held.ticket();
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, ticket) = (server.clone(), ticket.clone());
            async move {
                let who = who(request.headers(), peer.ip());
                let Some(_busy) = server.connections.busy(&ticket, who) else {
                    return Ok(server
                        .too_many("too many of your requests are being answered", RETRY_SECONDS));
                };
                Ok::<_, Infallible>(server.answer(request, who).await)
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            outcome = connection => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended");
                }
            }
            // Others need its place.
            () = held.evicted() => {}
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, who: u64) -> Response<Body> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > TARGET_BYTES_MAX {
            let problem = Problem::new(
                Code::BadRequest,
                format!("a path and query of at most {TARGET_BYTES_MAX} bytes"),
            );
            return self.refusal(problem, StatusCode::URI_TOO_LONG, None);
        }
        if request.uri().path() != "/healthz"
            && let Err(seconds) = self.rates.take(who)
        {
            return self.too_many("too many requests", seconds);
        }
        // A stranger's request is refused before it costs anything.
        let cost = heavy::cost(&request);
        let owner = match cost {
            Cost::Heavy => self.owner(&request).await,
            Cost::Urgent | Cost::Light => None,
        };
        let router = self.router.clone();
        let request = request.map(|body| Body::new(TimedBody::new(body)));
        let work = async {
            match owner {
                Some(owner) => self.work(request, &owner, who).await,
                None if cost == Cost::Urgent => Ok(urgently(routed(router, request)).await),
                None => self.compute.everyday(routed(router, request)).await,
            }
        };
        match tokio::time::timeout(REQUEST, work).await {
            Ok(Ok(response)) => response,
            Ok(Err(Ended::Panicked)) => {
                let problem =
                    Problem::new(Code::InternalError, "the request could not be worked on");
                self.refusal(problem, StatusCode::INTERNAL_SERVER_ERROR, None)
            }
            Ok(Err(Ended::Stopped)) => {
                let problem = Problem::new(
                    Code::InternalError,
                    "the server is stopping; ask again when it is back",
                );
                self.refusal(problem, StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_SECONDS))
            }
            Err(_) => self.refusal(
                Problem::new(Code::Timeout, "it took too long"),
                StatusCode::GATEWAY_TIMEOUT,
                None,
            ),
        }
    }

    // What costs processor time, when it is its owner's turn.
    async fn work(
        &self,
        request: Request<Body>,
        owner: &str,
        who: u64,
    ) -> Result<Response<Body>, Ended> {
        let Some(_place) = self.compute.place(who) else {
            return Ok(self.too_many("too much of yours is being worked on", RETRY_SECONDS));
        };
        // Nobody's turn passes while a body trickles in.
        let (parts, body) = request.into_parts();
        let request = match edge::read_body(body).await {
            Ok(bytes) => Request::from_parts(parts, Body::from(bytes)),
            Err(problem) => {
                let status =
                    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
                return Ok(self.refusal(problem, status, None));
            }
        };
        self.compute.run(owner, routed(self.router.clone(), request)).await
    }

    // In whose name a request is worked on: the workspace of its key, or of its session.
    async fn owner(&self, request: &Request<Incoming>) -> Option<String> {
        let engine = self.engine.upgrade()?;
        match edge::authenticated(&engine, request.headers()).await {
            Ok(caller) => Some(caller.workspace.to_string()),
            Err(_) => edge::page::session_workspace(&engine, request.headers()).await,
        }
    }

    fn too_many(&self, what: &str, seconds: u64) -> Response<Body> {
        let problem = Problem::new(Code::RateLimited, format!("{what}; try again in {seconds} s"));
        self.refusal(problem, StatusCode::TOO_MANY_REQUESTS, Some(seconds))
    }

    fn refusal(
        &self,
        mut problem: Problem,
        status: StatusCode,
        retry_after: Option<u64>,
    ) -> Response<Body> {
        problem.status = status.as_u16();
        problem.retryable = retry_after.is_some();
        let Some(engine) = self.engine.upgrade() else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let mut response = edge::refuse(&engine, problem);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

async fn routed(router: Router, request: Request<Body>) -> Response<Body> {
    router.oneshot(request).await.into_response()
}

// Whose request it is, for counting: the key it carries, however it is spelt and whatever it is
// worth, else the peer.
fn who(headers: &HeaderMap, peer: IpAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    match edge::bearer(headers) {
        Some(key) => key.hash(&mut hasher),
        None => peer.hash(&mut hasher),
    }
    hasher.finish()
}

/// A body that ends with an error where it does not come in time.
struct TimedBody {
    inner: Incoming,
    until: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl TimedBody {
    fn new(inner: Incoming) -> Self {
        Self { inner, until: Box::pin(tokio::time::sleep(BODY)) }
    }
}

impl hyper::body::Body for TimedBody {
    type Data = axum::body::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        use std::task::Poll;
        if let Poll::Ready(frame) = std::pin::Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        std::task::ready!(self.until.as_mut().poll(context));
        let late =
            std::io::Error::new(std::io::ErrorKind::TimedOut, "the body did not come in time");
        Poll::Ready(Some(Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// One key in other spellings: more requests, more work at once. Right: one caller.
    #[test]
    fn attack_one_key_in_many_spellings_is_one_caller() {
        let of = |credential: &str| {
            let headers = HeaderMap::from_iter([(
                header::AUTHORIZATION,
                HeaderValue::from_str(credential).unwrap(),
            )]);
            who(&headers, IpAddr::from(Ipv4Addr::LOCALHOST))
        };
        for spelt in
            ["bearer csk_1", "BEARER csk_1", "bEaReR   csk_1", "Bearer csk_1\t", "Bearer  \tcsk_1 "]
        {
            assert_eq!(of(spelt), of("Bearer csk_1"), "{spelt:?}");
        }
        assert_ne!(of("Bearer csk_2"), of("Bearer csk_1"));
        assert_eq!(of("Basic csk_1"), of("Digest x"), "what is no key is its peer's");
    }
}
