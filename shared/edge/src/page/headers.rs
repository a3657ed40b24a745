//! The one place where the headers of pages are set.

use super::{
    cookie::Cookies,
    reply::{Content, Onward, Reply},
};
use crate::Trace;
use axum::{body::Body, response::Response};
use contracts::endpoint::{Auth, Endpoint};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Nothing is loaded, sent, framed or run but what is ours.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";
/// A file that is named by its content never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// An answer with all its headers.
pub(super) fn response(
    reply: Reply,
    endpoint: &Endpoint,
    base: &str,
    cookies: &Cookies,
    trace: &Trace,
) -> Response {
    let referrer = match endpoint.auth {
        // The address of a link is its holder's secret. Browsers call the origin of its form `null`
        // then, and say by themselves of which site it is.
        Auth::Link => "no-referrer",
        Auth::None | Auth::ApiKey | Auth::Warrant | Auth::Session | Auth::Signed => "same-origin",
    };
    let Reply { status, content, cookies: changes, refresh } = reply;
    let (kind, cache, body, location) = match content {
        Content::Page(html) => {
            ("text/html; charset=utf-8", "no-store", Body::from(html.into_string()), None)
        }
        Content::Text(text) => ("text/plain; charset=utf-8", "no-store", Body::from(text), None),
        Content::Go(place) => {
            ("text/plain; charset=utf-8", "no-store", Body::empty(), Some(place.path(base)))
        }
        Content::Events(body) => ("text/event-stream", "no-store", body, None),
        Content::Asset(asset) => (asset.kind, FOR_EVER, Body::from(asset.text), None),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-type", kind),
        ("cache-control", cache),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", referrer),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
        ("vary", "Cookie"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    set(headers, HeaderName::from_static("traceparent"), trace.parent());
    if let Some(location) = location {
        set(headers, header::LOCATION, &location);
    }
    match refresh {
        Some(Onward::Here(path)) => {
            set(headers, header::REFRESH, &format!("0; url={base}{path}"));
        }
        Some(Onward::Provider(url)) => set(headers, header::REFRESH, &format!("0; url={url}")),
        None => {}
    }
    let kept = changes.iter().map(|change| cookies.set(change)).chain(cookies.set_visitor());
    for cookie in kept {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, value);
        }
    }
    response
}

// What has no form of a header is not sent.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
