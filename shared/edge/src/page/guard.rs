//! Where a form may come from.

use super::Prefix;
use crate::request;
use contracts::{Code, Problem};
use engine::{Answer, Engine};
use http::HeaderMap;
use std::net::IpAddr;
use url::Url;

/// Refuses a form that no page of ours sent. Browsers say where it comes from; who says nothing is
/// no browser that keeps people's sessions, and is refused.
pub(super) fn check_origin(engine: &Engine, headers: &HeaderMap) -> Answer<()> {
    let refuse = || {
        let message = "this form was sent by a page of another site; open the page that it is of, \
            by its link or in the console, and do it there";
        Problem::new(Code::Forbidden, message)
    };
    let text = |name: &'static str| {
        let value = request::only(headers, name)?;
        value.map(|value| value.to_str().map_err(|_| refuse())).transpose()
    };
    let (site, origin) = (text("sec-fetch-site")?, text("origin")?);
    if site.is_some_and(|site| site != "same-origin") {
        return Err(refuse());
    }
    match origin {
        Some(origin) if is_ours(engine, headers, origin) => Ok(()),
        // A page that lets no referrer out has no origin, either; the browser says of which site it
        // is, and no page can say it for the browser.
        Some("null") if site.is_some() => Ok(()),
        Some(_) => Err(refuse()),
        None if site.is_some() => Ok(()),
        None => Err(Problem::new(
            Code::Forbidden,
            "a form says where it comes from, as browsers do: open the page in a browser and send \
             its own form; a program uses the API with a key",
        )),
    }
}

// The deployment's own address, or the host that the request itself is for: no page chooses that.
fn is_ours(engine: &Engine, headers: &HeaderMap, origin: &str) -> bool {
    let Ok(given) = Url::parse(origin) else { return false };
    let public = Url::parse(&engine.config().public_url).ok();
    if public.is_some_and(|public| public.origin() == given.origin()) {
        return true;
    }
    let scheme = if is_secure(engine, headers) { "https" } else { "http" };
    let own = host(headers).and_then(|host| Url::parse(&format!("{scheme}://{host}")).ok());
    own.is_some_and(|own| own.origin() == given.origin())
}

fn host(headers: &HeaderMap) -> Option<&str> {
    request::only(headers, "host").ok()??.to_str().ok()
}

/// Whether cookies may be kept to encrypted connections: everywhere but where this machine is
/// asked by itself, in the clear.
pub(super) fn is_secure(engine: &Engine, headers: &HeaderMap) -> bool {
    if engine.config().public_url.starts_with("https://") {
        return true;
    }
    let name = host(headers).and_then(|host| Url::parse(&format!("http://{host}")).ok());
    let is_loopback = name.is_some_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    });
    !is_loopback
}

/// What paths of the deployment begin with, as the gateway before it says, else by its public
/// address; without a slash at the end.
pub(super) fn base(engine: &Engine, prefix: Option<Prefix>) -> String {
    if let Some(Prefix(prefix)) = prefix {
        return prefix;
    }
    let path = Url::parse(&engine.config().public_url).map(|url| url.path().to_owned());
    path.unwrap_or_default().trim_end_matches('/').to_owned()
}
