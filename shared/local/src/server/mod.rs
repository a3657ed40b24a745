//! The embedded HTTP server: connections that are counted, times that end, and work that is kept apart.
//!
//! INVARIANT (bounded-work): whoever connects holds a limited number of connections for a limited time; the head of a
//! request, its body and its rate are limited; and requests that cost processor time run on threads of their own, so
//! that the health check and everybody's small requests are answered meanwhile.

mod connections;
mod heavy;
mod rate;

use crate::compute::{Compute, Unworked};
use axum::{Router, body::Body, response::IntoResponse as _};
use connections::{Connections, Held};
use contracts::{Code, Problem};
use engine::Engine;
use http::{HeaderValue, Request, Response, StatusCode, header};
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

/// Longest wait for the head of a request, from the moment the connection is there or the answer before it was sent.
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
                let _busy = server.connections.busy(&ticket);
                Ok::<_, Infallible>(server.answer(request, peer.ip()).await)
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

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > TARGET_BYTES_MAX {
            let problem =
                Problem::new(Code::BadRequest, format!("a path and query of at most {TARGET_BYTES_MAX} bytes"));
            return refusal(problem, StatusCode::URI_TOO_LONG, None);
        }
        let who = who(&request, peer);
        if request.uri().path() != "/healthz"
            && let Err(seconds) = self.rates.take(who)
        {
            let problem = Problem::new(Code::RateLimited, format!("too many requests; try again in {seconds} s"));
            return refusal(problem, StatusCode::TOO_MANY_REQUESTS, Some(seconds));
        }
        let owner = match heavy::is_heavy(&request) {
            true => Some(self.owner(&request, who).await),
            false => None,
        };
        let request = request.map(|body| Body::new(TimedBody::new(body)));
        let router = self.router.clone();
        let work = async move { router.oneshot(request).await.into_response() };
        let answer = async {
            match owner {
                None => Ok(work.await),
                Some(owner) => self.compute.try_run(&owner, work).await,
            }
        };
        match tokio::time::timeout(REQUEST, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(Unworked::Full)) => {
                let message = format!("too much of yours is being worked on; try again in {RETRY_SECONDS} s");
                let problem = Problem::new(Code::RateLimited, message);
                refusal(problem, StatusCode::TOO_MANY_REQUESTS, Some(RETRY_SECONDS))
            }
            Ok(Err(Unworked::Ended)) => {
                let problem = Problem::new(Code::InternalError, "the request could not be worked on");
                refusal(problem, StatusCode::INTERNAL_SERVER_ERROR, None)
            }
            Err(_) => refusal(Problem::new(Code::Timeout, "it took too long"), StatusCode::GATEWAY_TIMEOUT, None),
        }
    }

    // In whose name a request is worked on: the workspace of its key, else the stranger.
    async fn owner(&self, request: &Request<Incoming>, who: u64) -> String {
        let Some(engine) = self.engine.upgrade() else { return format!("stranger {who}") };
        match edge::authenticated(&engine, request.headers()).await {
            Ok(caller) => caller.workspace.to_string(),
            Err(_) => format!("stranger {who}"),
        }
    }
}

// Whose request it is, for counting: the credential it carries, whatever it is worth, else the peer.
fn who(request: &Request<Incoming>, peer: IpAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    match request.headers().get(header::AUTHORIZATION) {
        Some(credential) => credential.as_bytes().hash(&mut hasher),
        None => peer.hash(&mut hasher),
    }
    hasher.finish()
}

fn refusal(mut problem: Problem, status: StatusCode, retry_after: Option<u64>) -> Response<Body> {
    problem.status = status.as_u16();
    problem.retryable = retry_after.is_some();
    let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
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
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the body did not come in time");
        Poll::Ready(Some(Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}
