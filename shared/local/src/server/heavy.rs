//! Which requests cost processor time, and which wait for nothing: the table of endpoints says it,
//! and the size of a body.

use contracts::endpoint::{self, Cost};
use http::{HeaderMap, Method, Request, header};
use hyper::body::Body as _;

/// Bodies above this size are heavy whatever they are for, in bytes.
const BODY_BYTES_LIGHT: u64 = 16 * 1024;

/// What a request costs.
pub(super) fn cost(request: &Request<hyper::body::Incoming>) -> Cost {
    of_size(
        request.method(),
        request.uri().path(),
        request.headers(),
        request.body().size_hint().upper(),
    )
}

fn of_size(method: &Method, path: &str, headers: &HeaderMap, upper: Option<u64>) -> Cost {
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
    let size = upper.or(stated);
    if *method == Method::POST && size.is_none_or(|size| size > BODY_BYTES_LIGHT) {
        return Cost::Heavy;
    }
    endpoint::at(method.as_str(), path).map_or(Cost::Light, |endpoint| endpoint.cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_work_what_is_heavy() {
        let cost = |method: Method, path: &str, size: Option<u64>| {
            of_size(&method, path, &HeaderMap::new(), size)
        };
        assert_eq!(cost(Method::POST, "/v1/skills/verify", Some(10)), Cost::Heavy);
        assert_eq!(cost(Method::POST, "/v1/intents", Some(500)), Cost::Light);
        assert_eq!(cost(Method::POST, "/v1/intents", Some(100_000)), Cost::Heavy);
        assert_eq!(cost(Method::POST, "/v1/intents", None), Cost::Heavy);
        assert_eq!(cost(Method::POST, "/v1/skills/crm/disable", Some(20)), Cost::Urgent);
        assert_eq!(cost(Method::POST, "/v1/skills/crm/disable", Some(100_000)), Cost::Heavy);
        assert_eq!(cost(Method::GET, "/nowhere", Some(0)), Cost::Light);
    }
}
