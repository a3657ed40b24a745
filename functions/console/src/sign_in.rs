//! The pages of signing in. They only show: what their forms do stands at the function that keeps
//! who may call, so that whoever fetches an address beforehand burns nothing.

use askama::Template;
use contracts::{
    Code, Problem,
    endpoint::{named, page},
};
use edge::page::{Form, Place, Reply, Visit, place_of_path};
use engine::{Answer, Engine};
use pages::{Frame, Html};
use std::sync::Arc;

/// The workspace that the page names first.
const WORKSPACE: &str = "default";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'p> {
    action: String,
    csrf: &'p str,
    to: Option<String>,
    code: Option<&'p str>,
    /// Where the form of the identity provider is sent; absent: none is set up.
    provider: Option<Provider<'p>>,
}

struct Provider<'p> {
    action: String,
    /// Its host.
    name: String,
    workspace: &'p str,
}

#[derive(Template)]
#[template(path = "sign_in_return.html")]
struct ReturnPage<'p> {
    action: String,
    csrf: &'p str,
    /// What the provider put into the address.
    said: Vec<(&'static str, &'p str)>,
}

pub(crate) async fn show(engine: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    let to = visit.query("to").and_then(place_of_path);
    let code = visit.query("code").filter(|code| is_plain(code));
    if code.is_none() && visit.signed_in().is_ok() {
        let place = Place::of(const { page("console.overview") }, &visit);
        return Ok(Reply::go(place.or_path(to.as_deref())));
    }
    let path = const { named("console.sign-in.send") }.path;
    let action = format!("{}{path}", visit.base);
    let provider = engine.config().issuer.as_deref().map(|issuer| Provider {
        action: format!("{}{}", visit.base, const { named("console.sign-in.begin") }.path),
        name: host(issuer),
        workspace: visit.query("workspace").filter(|name| is_plain(name)).unwrap_or(WORKSPACE),
    });
    let content = Html::of(&SignInPage { action, csrf: &visit.csrf, to, code, provider });
    let frame = Frame { base: &visit.base, title: "Sign in", nav: None, notice: None, live: None };
    Reply::rendered(content.and_then(|content| pages::frame(&frame, &content)))
}

fn host(issuer: &str) -> String {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    pages::shown(rest.split('/').next().unwrap_or_default())
}

// Letters, digits and what joins them: what else there is in an address is no code.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

// INVARIANT (get-never-mutates): the provider leads back by GET, and a form finishes the sign-in.
pub(crate) async fn back(_: Arc<Engine>, visit: Visit) -> Answer<Reply> {
    if visit.flow().is_none() {
        let message = "this browser did not begin a sign-in, or it took too long: begin again";
        return Err(Problem::new(Code::Unauthenticated, message));
    }
    let path = const { named("console.sign-in.finish") }.path;
    let said = ["state", "code", "error"].into_iter();
    let content = Html::of(&ReturnPage {
        action: format!("{}{path}", visit.base),
        csrf: &visit.csrf,
        said: said.filter_map(|name| Some((name, visit.query(name)?))).collect(),
    });
    let frame = Frame { base: &visit.base, title: "Sign in", nav: None, notice: None, live: None };
    Reply::rendered(content.and_then(|content| pages::frame_that_goes_on(&frame, &content)))
}

pub(crate) async fn out(engine: Arc<Engine>, visit: Visit, _: Form) -> Answer<Reply> {
    engine.sessions.close(visit.session_token()?).await?;
    Ok(Reply::go(Place::of(const { page("console.sign-in") }, &visit)).signed_out())
}
