//! Which requests cost processor time (compiling, judging past plans, installing, proving, reading much), and which wait
//! for nothing.

use http::{HeaderMap, Method, Request, header};
use hyper::body::Body as _;

/// Bodies above this size are heavy whatever they are for, in bytes.
const BODY_BYTES_LIGHT: u64 = 16 * 1024;

/// Kill switches: a path that ends so.
const SWITCHES: [&str; 5] = ["/v1/freezes", "/disable", "/revoke", "/cancel", "/abort"];
/// Routes whose work grows with what is stored, or with schemas.
const ROUTES: [&str; 8] =
    ["/v1/skills", "/v1/policies", "/v1/trust", "/replay", "/plan", "/compile", "/trace", "/v1/log"];
/// Its list grows with what is stored; one more name behind it is one execution.
const LIST: &str = "/v1/executions";

/// Whether a request is a kill switch: it waits for nobody's work.
pub(super) fn is_switch(request: &Request<hyper::body::Incoming>) -> bool {
    switches(request.method(), request.uri().path())
}

fn switches(method: &Method, path: &str) -> bool {
    *method == Method::POST && SWITCHES.iter().any(|switch| path.ends_with(switch))
}

/// Whether a request costs processor time.
pub(super) fn is_heavy(request: &Request<hyper::body::Incoming>) -> bool {
    let size = request.body().size_hint().upper();
    of_size(request.method(), request.uri().path(), request.headers(), size)
}

fn of_size(method: &Method, path: &str, headers: &HeaderMap, upper: Option<u64>) -> bool {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    let size = upper.or(stated);
    let body = *method == Method::POST && size.is_none_or(|size| size > BODY_BYTES_LIGHT);
    let of_route = |route: &&str| path.starts_with(*route) || path.ends_with(*route);
    body || path == LIST || !switches(method, path) && ROUTES.iter().any(|route| of_route(&route))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_work_what_is_heavy() {
        let heavy = |method: Method, path: &str, size: Option<u64>| of_size(&method, path, &HeaderMap::new(), size);
        assert!(heavy(Method::POST, "/v1/skills/verify", Some(10)) && heavy(Method::POST, "/v1/policies", Some(10)));
        assert!(heavy(Method::POST, "/v1/intents", Some(100_000)) && heavy(Method::POST, "/v1/intents", None));
        assert!(heavy(Method::GET, "/v1/executions/exe_1/replay", Some(0)));
        assert!(!heavy(Method::POST, "/v1/intents", Some(500)) && !heavy(Method::GET, "/healthz", Some(0)));
        assert!(
            heavy(Method::GET, "/v1/executions", Some(0)) && heavy(Method::GET, "/v1/executions/exe_1/trace", None)
        );
        assert!(!heavy(Method::GET, "/v1/executions/exe_1", Some(0)));
        assert!(
            !heavy(Method::POST, "/v1/skills/crm/disable", Some(20))
                && heavy(Method::POST, "/v1/skills/crm/enable", None)
        );
    }
}
