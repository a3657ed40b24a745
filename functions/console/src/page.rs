//! What the pages of the console have in common: the way around, what was just done, and the forms
//! that somebody may send.

use contracts::{
    Timestamp,
    endpoint::{self, Endpoint},
};
use edge::page::{Reply, Visit};
use engine::{Answer, Caller, Engine};
use pages::{Frame, Html, Moment, Nav, NavItem};

const fn item(path: &'static str, title: &'static str, key: char) -> NavItem {
    NavItem { path, title, key }
}

const NAV: &[NavItem] = &[
    item("/console", "Overview", 'o'),
    item("/console/inbox", "Inbox", 'i'),
    item("/console/executions", "Executions", 'e'),
    item("/console/skills", "Skills and trust", 's'),
    item("/console/policies", "Policies", 'p'),
    item("/console/policies/simulator", "Simulator", 'm'),
    item("/console/budgets", "Budgets", 'b'),
    item("/console/freezes", "Freezes", 'f'),
    item("/console/people", "Keys and people", 'k'),
    item("/console/mandates", "Mandates", 'd'),
    item("/console/subscriptions", "Subscriptions", 'n'),
    item("/console/log", "Workspace log", 'l'),
];

/// What a page says of the form that led to it.
fn notice(done: &str) -> Option<&'static str> {
    Some(match done {
        "console.approve" => "Approved.",
        "console.reject" => "Rejected.",
        "console.comment" => "Your comment is on record.",
        "console.decide" => "Your decision on all of them is on record.",
        "console.override" => "Approved by you alone. Another person reviews it.",
        "console.review" => "Your review is on record.",
        "console.withdraw" => "Your vote is withdrawn.",
        "console.edit" => "The plan is changed. Another person decides on it.",
        "console.cancel" => "Cancelled.",
        "console.pause" => "Paused.",
        "console.resume" => "Resumed.",
        "console.retry" => "It is tried again.",
        "console.abort" => "Ended as it stands.",
        "console.resolve" => "Your word on the call is on record.",
        "console.freeze" => "The freezes are changed.",
        "console.skill.disable" => "The skill is disabled.",
        "console.skill.enable" => "The skill is enabled.",
        "console.mandate.create" => "The mandate is in force.",
        "console.mandate.revoke" => "The mandate is revoked.",
        "console.key.revoke" => "The key is revoked.",
        "console.subscription.test" => "A test event was sent; what came of it is shown below.",
        "console.subscription.redeliver" => "Dead letters are sent again.",
        _ => return None,
    })
}

/// A page that is being made.
pub(crate) struct Page<'p> {
    pub(crate) visit: &'p Visit,
    pub(crate) caller: &'p Caller,
    pub(crate) now: Timestamp,
    /// Names the forms of this page, so that one that is sent twice is done once.
    once: String,
}

impl<'p> Page<'p> {
    pub(crate) fn new(engine: &Engine, visit: &'p Visit) -> Answer<Self> {
        let once = hex::encode(engine.ports().ids.id());
        Ok(Self { visit, caller: visit.caller()?, now: engine.now(), once })
    }

    /// A moment as the page shows it.
    pub(crate) fn moment(&self, at: Timestamp) -> Moment {
        Moment::of(at, self.now)
    }

    /// Whether the caller has the grant of an endpoint: what it lacks is not offered.
    pub(crate) fn may(&self, endpoint: &Endpoint) -> bool {
        self.caller.require_endpoint(endpoint).is_ok()
    }

    /// A form of an endpoint, if the caller may send it. `part` tells the forms of one endpoint on
    /// one page apart.
    pub(crate) fn form(
        &self,
        endpoint: &Endpoint,
        parameters: &[(&str, &str)],
        part: &str,
    ) -> Option<Sending> {
        if !self.may(endpoint) {
            return None;
        }
        let path = parameters.iter().fold(endpoint.path.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), &edge::page::escaped(value))
        });
        Some(Sending {
            action: format!("{}{path}", self.visit.base),
            csrf: self.visit.csrf.clone(),
            once: format!("{}-{part}", self.once),
        })
    }

    /// The page in its frame. `live`: what the script is to hear of.
    pub(crate) fn reply<E: std::fmt::Display>(
        &self,
        (title, here): (&str, &'static Endpoint),
        live: Option<&str>,
        content: Result<Html, E>,
    ) -> Answer<Reply> {
        let content = match content {
            Ok(content) => content,
            Err(error) => return Reply::rendered::<E>(Err(error)),
        };
        let live = live.map(|query| {
            let path = const { endpoint::named("console.live") }.path;
            format!("{}{path}?{query}&since={}", self.visit.base, self.now.ms())
        });
        let sign_out = const { endpoint::named("console.sign-out") }.path;
        let frame = Frame {
            base: &self.visit.base,
            title,
            nav: Some(Nav {
                items: NAV,
                here: here.path,
                workspace: self.caller.workspace.as_str(),
                person: &self.caller.actor.id,
                csrf: &self.visit.csrf,
                sign_out,
            }),
            notice: self.visit.query("done").and_then(notice),
            live: live.as_deref(),
        };
        Reply::rendered(pages::frame(&frame, &content))
    }
}

/// Where a form is sent, and what it carries beside its fields.
#[derive(Clone)]
pub(crate) struct Sending {
    pub(crate) action: String,
    pub(crate) csrf: String,
    pub(crate) once: String,
}
