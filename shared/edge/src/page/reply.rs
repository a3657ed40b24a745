//! What a page or a form is answered with, and where a browser may be led.

use super::{Visit, cookie::CookieChange};
use axum::body::Body;
use contracts::endpoint::Endpoint;
use engine::{Answer, Departure, SessionOpened};
use pages::{Asset, Html};
use std::collections::HashMap;

/// Status of a redirection after a form: the browser goes on by GET.
const SEE_OTHER: u16 = 303;

/// An answer to a browser. Its headers are set in one place.
pub struct Reply {
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) cookies: Vec<CookieChange>,
    pub(super) refresh: Option<Onward>,
}

/// Where a browser goes on from a page by itself.
pub(super) enum Onward {
    /// A path of ours.
    Here(String),
    /// The identity provider's page. There is no other place elsewhere.
    Provider(String),
}

pub(super) enum Content {
    Page(Html),
    Text(String),
    Go(Place),
    Events(Body),
    Asset(&'static Asset),
}

impl Reply {
    fn of(status: u16, content: Content) -> Self {
        Self { status, content, cookies: Vec::new(), refresh: None }
    }

    /// A page.
    pub fn page(html: Html) -> Self {
        Self::of(200, Content::Page(html))
    }

    /// Leads the browser to a page.
    pub fn go(place: Place) -> Self {
        Self::of(SEE_OTHER, Content::Go(place))
    }

    /// Server-sent events.
    pub fn events(body: Body) -> Self {
        Self::of(200, Content::Events(body))
    }

    /// A file that pages need.
    pub fn asset(asset: &'static Asset) -> Self {
        Self::of(200, Content::Asset(asset))
    }

    /// Bytes of a page; zero of what is none.
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::Page(html) => html.as_str().len(),
            Content::Text(_) | Content::Go(_) | Content::Events(_) | Content::Asset(_) => 0,
        }
    }

    pub(super) fn text(status: u16, text: String) -> Self {
        Self::of(status, Content::Text(text))
    }

    /// The same with another status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same, in a new session, whatever the browser brought.
    pub fn signed_in(mut self, opened: SessionOpened) -> Self {
        let SessionOpened { token, life_seconds } = opened;
        self.cookies.push(CookieChange::Session { token, life_seconds });
        self
    }

    /// Leads the browser to the identity provider; it keeps what it needs to come back. Not by a
    /// redirection: browsers hold those of a form to the places that forms may be sent to.
    pub fn leave(base: &str, departure: Departure) -> Answer<Self> {
        let Departure { url, token, life_seconds } = departure;
        let mut reply = Self::rendered(pages::leave(base, &url))?;
        reply.cookies.push(CookieChange::Flow { token, life_seconds });
        reply.refresh = Some(Onward::Provider(url));
        Ok(reply)
    }

    /// The same, and the browser forgets that it was on its way to the identity provider.
    pub fn arrived(mut self) -> Self {
        self.cookies.push(CookieChange::FlowEnded);
        self
    }

    /// The same, and the browser shows for so long that the person signed in once more.
    pub fn confirmed(mut self, token: String, life_seconds: i64) -> Self {
        self.cookies.push(CookieChange::SecondFactor { token, life_seconds });
        self
    }

    /// The same, and the browser forgets its session.
    pub fn signed_out(mut self) -> Self {
        self.cookies.push(CookieChange::SessionEnded);
        self
    }

    pub(super) fn leading_to(mut self, path: Option<String>) -> Self {
        self.refresh = path.map(Onward::Here);
        self
    }
}

/// A page of the table. There is no other place that a browser is led to.
pub struct Place {
    endpoint: &'static Endpoint,
    parameters: HashMap<String, String>,
    query: Vec<(&'static str, String)>,
    /// A path that was looked at, instead of the endpoint's own.
    path: Option<String>,
}

impl Place {
    /// A page, with the path parameters of the request that leads to it.
    pub fn of(page: &'static Endpoint, visit: &Visit) -> Self {
        Self { endpoint: page, parameters: visit.path.clone(), query: Vec::new(), path: None }
    }

    /// A page, with a path parameter of its own.
    pub fn at(page: &'static Endpoint, (name, value): (&str, String)) -> Self {
        let parameters = HashMap::from([(name.to_owned(), value)]);
        Self { endpoint: page, parameters, query: Vec::new(), path: None }
    }

    /// The same at a path that [`super::place_of_path`] takes; else the page itself.
    pub fn or_path(mut self, path: Option<&str>) -> Self {
        self.path = path.and_then(super::place_of_path);
        self
    }

    /// The same, where the page says what was done.
    pub fn done(mut self, endpoint: &'static Endpoint) -> Self {
        self.query.push(("done", endpoint.name.to_owned()));
        self
    }

    pub(super) fn path(&self, base: &str) -> String {
        let own = filled(self.endpoint.path, &self.parameters);
        let mut path = format!("{base}{}", self.path.as_ref().unwrap_or(&own));
        if !self.query.is_empty() {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.query);
            path += &format!("?{}", query.finish());
        }
        path
    }
}

// A path with its parameters, escaped.
fn filled(path: &str, parameters: &HashMap<String, String>) -> String {
    let fill = |word: &str| match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
        Some(name) => {
            let value = parameters.get(name).map(String::as_str).unwrap_or_default();
            let escaped: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            escaped.replace('+', "%20")
        }
        None => word.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// What the address of the sign-in page ends with, so that who signs in comes back; with the code
/// that opens a session, if there is one.
pub(super) fn way_back(
    endpoint: &Endpoint,
    path: &HashMap<String, String>,
    code: Option<&str>,
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::from("?"));
    if let Some(path) = super::place_of_path(&filled(endpoint.path, path)) {
        query.append_pair("to", &path);
    }
    if let Some(code) = code {
        query.append_pair("code", code);
    }
    query.finish()
}

/// A text as a part of an address.
pub fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
