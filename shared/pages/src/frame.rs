//! The frame around every page, and the page of a problem.

use crate::{Html, SCRIPT, STYLE, words};
use askama::Template;
use contracts::Problem;

/// What a page has around it.
pub struct Frame<'f> {
    /// What paths begin with where the deployment is not at the root of its host; without a slash
    /// at the end.
    pub base: &'f str,
    pub title: &'f str,
    /// Absent: a page for somebody who has not signed in.
    pub nav: Option<Nav<'f>>,
    /// What was just done.
    pub notice: Option<&'f str>,
    /// Where the script learns that something has changed.
    pub live: Option<&'f str>,
}

/// The way around for who has signed in.
pub struct Nav<'f> {
    pub items: &'f [NavItem],
    /// Path of the page that is shown.
    pub here: &'f str,
    pub workspace: &'f str,
    pub person: &'f str,
    /// What the form that signs out carries.
    pub csrf: &'f str,
    /// Where it is sent.
    pub sign_out: &'f str,
}

/// One entry of it.
pub struct NavItem {
    pub path: &'static str,
    pub title: &'static str,
    /// The key that leads there after `g`.
    pub key: char,
}

#[derive(Template)]
#[template(path = "frame.html")]
struct FramePage<'f> {
    frame: &'f Frame<'f>,
    style: &'f str,
    /// Absent: a page that does without.
    script: Option<&'f str>,
    content: &'f Html,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'p> {
    base: &'p str,
    problem: &'p Problem,
    /// What may be done about it.
    way_out: &'p str,
    link: Option<(&'p str, &'p str)>,
}

#[derive(Template)]
#[template(path = "leave.html")]
struct LeavePage<'p> {
    url: &'p str,
}

/// A page in its frame. Who has not signed in is sent no script.
pub fn frame(frame: &Frame<'_>, content: &Html) -> Result<Html, askama::Error> {
    let script = frame.nav.is_some().then_some(SCRIPT.name.as_str());
    Html::of(&FramePage { frame, style: STYLE.name.as_str(), script, content })
}

/// The same with the script, which sends the page's one form at once.
pub fn frame_that_goes_on(frame: &Frame<'_>, content: &Html) -> Result<Html, askama::Error> {
    let script = Some(SCRIPT.name.as_str());
    Html::of(&FramePage { frame, style: STYLE.name.as_str(), script, content })
}

/// The page that leads to the identity provider.
pub fn leave(base: &str, url: &str) -> Result<Html, askama::Error> {
    let content = Html::of(&LeavePage { url })?;
    let around = Frame { base, title: "Sign in", nav: None, notice: None, live: None };
    frame(&around, &content)
}

/// The page of a problem: what was refused, why, and what may be done. `link`: a title, and the
/// path that it leads to.
pub fn explain(
    base: &str,
    problem: &Problem,
    link: Option<(&str, &str)>,
) -> Result<Html, askama::Error> {
    let way_out = if problem.retryable {
        "The same may succeed in a moment: go back and try again."
    } else if problem.status >= 500 {
        "The service failed. The trace id names this request in its log."
    } else {
        "Nothing was changed. Go back, load the page again and look at what it says now."
    };
    let content = Html::of(&ProblemPage { base, problem, way_out, link })?;
    let title = words::shown(problem.code.title());
    let around = Frame { base, title: &title, nav: None, notice: None, live: None };
    frame(&around, &content)
}
