//! The cookies of the console: a session's token; what the forms of somebody are bound to who has
//! not signed in; a sign-in at the identity provider that is under way; and what shows that a
//! person signed in once more for a decision.
//!
//! A browser keeps cookies by host, whatever the port: their names say of which deployment they
//! are, so that two consoles on one host do not sign each other's people out.
//!
//! The token of a form is an HMAC under the cookie that it is bound to: who cannot read the cookie
//! cannot make one, and that of another session is another.

use super::guard;
use contracts::{Code, Problem};
use engine::{Answer, Engine};
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use std::sync::OnceLock;

/// How many bytes of the digest of a deployment's address stand in the names of its cookies.
const ADDRESS_BYTES: usize = 4;
const SESSION: &str = "countersign-session";
const VISITOR: &str = "countersign-visitor";
const FLOW: &str = "countersign-sign-in";
const SECOND_FACTOR: &str = "countersign-second-factor";
/// What a browser takes only with `Secure`, for this host alone and all of its paths.
const HOST_PREFIX: &str = "__Host-";
/// What tokens of forms are for, apart from whatever else might be made of a cookie.
const PURPOSE: &[u8] = b"countersign/form/1";

/// The cookies of one request, and those that its answer sets.
pub(super) struct Cookies {
    names: Names,
    session: Option<String>,
    visitor: Option<String>,
    flow: Option<String>,
    second_factor: Option<String>,
    /// A visitor who had none.
    new_visitor: OnceLock<String>,
}

impl Cookies {
    pub(super) fn of(engine: &Engine, headers: &HeaderMap) -> Self {
        let names = Names::of(engine, headers);
        let session = read(headers, &names.name(SESSION));
        let visitor = read(headers, &names.name(VISITOR))
            .filter(|value| value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()));
        let flow = read(headers, &names.name(FLOW));
        let second_factor = read(headers, &names.name(SECOND_FACTOR));
        Self { names, session, visitor, flow, second_factor, new_visitor: OnceLock::new() }
    }

    /// The sign-in at the identity provider that is under way.
    pub(super) fn flow(&self) -> Option<&str> {
        self.flow.as_deref()
    }

    /// What shows that the person signed in once more for a decision.
    pub(super) fn second_factor(&self) -> Option<&str> {
        self.second_factor.as_deref()
    }

    /// The token of the session.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn any_visitor(&self) -> Option<&str> {
        self.visitor.as_deref().or_else(|| self.new_visitor.get().map(String::as_str))
    }

    // What forms are bound to: the session, else the visitor.
    fn bound_to(&self) -> Option<&str> {
        self.session.as_deref().or(self.any_visitor())
    }

    /// What the forms of a page carry.
    pub(super) async fn form_token(&self, engine: &Engine) -> String {
        if self.session.is_none() && self.visitor.is_none() {
            self.new_visitor.get_or_init(|| hex::encode(engine.ports().ids.secret()));
        }
        let code = self.bound_to().and_then(mac).map(|mac| mac.finalize().into_bytes());
        code.map(hex::encode).unwrap_or_default()
    }

    /// Refuses a form without the token of the page that it comes from. `anybody`: a form that
    /// needs no session. Its page may have been shown to a browser that another site led here,
    /// which sends no cookie of a session then, and sends it with the form.
    pub(super) fn check_form_token(&self, given: Option<&str>, anybody: bool) -> Answer<()> {
        let given = given.and_then(|given| hex::decode(given).ok());
        let visitor = self.any_visitor().filter(|_| anybody);
        let mut keys = self.bound_to().into_iter().chain(visitor).filter_map(mac);
        // Each in constant time.
        let holds = given.is_some_and(|given| keys.any(|mac| mac.verify_slice(&given).is_ok()));
        if holds {
            return Ok(());
        }
        let message = "the form does not come from a page of your session; load the page again";
        Err(Problem::new(Code::Forbidden, message))
    }

    /// What an answer sets: a cookie that no script reads, and that no other site sends. That of
    /// a sign-in comes along when the provider leads the browser back (`Lax`).
    pub(super) fn set(&self, change: &CookieChange) -> String {
        let given = |life_seconds: &i64| format!("; Max-Age={life_seconds}");
        let (stem, value, site, life) = match change {
            CookieChange::Session { token, life_seconds } => {
                (SESSION, token.as_str(), STRICT, given(life_seconds))
            }
            CookieChange::SessionEnded => (SESSION, "", STRICT, ENDED.to_owned()),
            CookieChange::Flow { token, life_seconds } => {
                (FLOW, token.as_str(), LAX, given(life_seconds))
            }
            CookieChange::SecondFactor { token, life_seconds } => {
                (SECOND_FACTOR, token.as_str(), STRICT, given(life_seconds))
            }
            CookieChange::FlowEnded => (FLOW, "", LAX, ENDED.to_owned()),
        };
        self.line(stem, value, site, &life)
    }

    /// The same for a visitor who came without one.
    pub(super) fn set_visitor(&self) -> Option<String> {
        self.new_visitor.get().map(|value| self.line(VISITOR, value, STRICT, ""))
    }

    fn line(&self, stem: &str, value: &str, site: &str, life: &str) -> String {
        let secure = if self.names.secure { "; Secure" } else { "" };
        let name = self.names.name(stem);
        format!("{name}={value}; Path=/; HttpOnly; SameSite={site}{secure}{life}")
    }
}

const STRICT: &str = "Strict";
const LAX: &str = "Lax";
const ENDED: &str = "; Max-Age=0";

/// What becomes of a cookie.
pub(super) enum CookieChange {
    Session { token: String, life_seconds: i64 },
    SessionEnded,
    Flow { token: String, life_seconds: i64 },
    FlowEnded,
    SecondFactor { token: String, life_seconds: i64 },
}

// What cookies of a deployment are called.
struct Names {
    secure: bool,
    address: String,
}

impl Names {
    fn of(engine: &Engine, headers: &HeaderMap) -> Self {
        let digest = Sha256::digest(engine.config().public_url.as_bytes());
        let address = digest.iter().take(ADDRESS_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { secure: guard::is_secure(engine, headers), address }
    }

    fn name(&self, stem: &str) -> String {
        let prefix = if self.secure { HOST_PREFIX } else { "" };
        format!("{prefix}{stem}-{}", self.address)
    }
}

fn mac(bound_to: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(bound_to.as_bytes()).ok()?;
    mac.update(PURPOSE);
    Some(mac)
}

// A cookie that stands there twice is none: a page of a neighbour may have planted one of them.
fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(own, _)| *own == name)
        .map(|(_, value)| value.to_owned());
    let first = found.next();
    first.filter(|value| !value.is_empty() && found.next().is_none())
}
