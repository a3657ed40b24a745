//! What people are told, as letters. What is shown of a request are the lines of its view, as on
//! every other way.

use super::Matter;
use crate::{
    SendError,
    mail::{Letter, unwritten},
};
use askama::Template;
use contracts::{
    Open, WorkspaceId,
    event::{CloudEvent, GovernanceChanged},
};
use cs_core::{
    canonical,
    execution::ballot,
    mail::MailAddress,
    text::{clip_foreign, quote_foreign},
};
use engine::{Addressee, AskedApproval, Engine};

/// Columns of a text that a letter quotes.
const QUOTED_COLUMNS: usize = 300;
/// Columns of a text in a subject.
const SUBJECT_COLUMNS: usize = 60;

/// Why somebody is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    First,
    Reminder,
    /// Those who were asked did not decide in time.
    Escalated,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::First => "",
            Self::Reminder => "Reminder: ",
            Self::Escalated => "Escalated: ",
        }
    }
}

#[derive(Template)]
#[template(path = "people.txt")]
struct Text<'l> {
    said: &'l Said,
}

#[derive(Template)]
#[template(path = "people.html")]
struct Html<'l> {
    title: &'l str,
    said: &'l Said,
}

/// What a letter says: everything visible already.
struct Said {
    /// Sentences at the beginning.
    opening: Vec<String>,
    lines: Vec<String>,
    /// What the link is for, and until when it is one.
    action: String,
    url: String,
    /// Sentences at the end.
    closing: Vec<String>,
}

/// The letter to a person about something that waits.
pub(super) async fn of(
    engine: &Engine,
    workspace: &WorkspaceId,
    matter: &Matter,
    (person, kind): (&Addressee, Kind),
) -> Result<Letter, SendError> {
    let asked = matter.asked();
    let risk = asked.risk.map(|risk| format!(" ({} risk)", Open::from(risk)));
    let risk = risk.unwrap_or_default();
    let text = clip_foreign(&asked.text, SUBJECT_COLUMNS);
    let (what, said) = match matter {
        Matter::Approval(approval) => {
            let about = (&asked.execution, &approval.id);
            let url = engine.links.mint(workspace, about, &person.id, approval.expires_at).await;
            ("Approve", of_approval(approval, url.map_err(super::failed)?, kind))
        }
        Matter::Stopped { reason, message, .. } => {
            let reason = Open::from(*reason).to_string().replace('_', " ");
            ("Waits for an operator", of_stopped(engine, asked, &reason, message.as_deref()))
        }
    };
    let title = format!("{}{what}: {text}{risk}", kind.word());
    let name = matter.name();
    let parts: [&[u8]; 6] = [
        b"countersign/mail/notice",
        workspace.as_str().as_bytes(),
        asked.execution.as_str().as_bytes(),
        name.as_bytes(),
        person.id.as_bytes(),
        kind.word().as_bytes(),
    ];
    written(format!("[{workspace}] {title}"), &title, &said, canonical::digest_parts(&parts))
}

fn of_approval(approval: &AskedApproval, url: String, kind: Kind) -> Said {
    let asked = &approval.asked;
    let mut opening = vec![format!(
        "{} asks: {}",
        clip_foreign(&asked.requester, QUOTED_COLUMNS),
        clipped(&asked.text),
    )];
    match kind {
        Kind::First => {}
        Kind::Reminder => opening.push("You were told of it before, and it still waits.".into()),
        Kind::Escalated => {
            opening.push("Those who were asked first did not decide in time.".into());
        }
    }
    opening.push(format!(
        "It needs {}, and waits until {}.",
        ballot::words(&approval.missing),
        approval.expires_at
    ));
    Said {
        opening,
        lines: approval.lines.clone(),
        action: "Look at it and decide".into(),
        url,
        closing: vec![
            "Opening the link decides nothing; the page asks. It is valid for a day at the longest."
                .into(),
            "The link is yours alone: whoever has it decides in your name. Do not forward this \
             mail."
                .into(),
        ],
    }
}

fn of_stopped(engine: &Engine, asked: &engine::Asked, reason: &str, message: Option<&str>) -> Said {
    let step = asked.step.as_ref().map(|step| format!("step `{step}` of ")).unwrap_or_default();
    let mut opening = vec![
        format!("{step}{} waits: {reason}.", asked.execution),
        format!(
            "{} asked: {}",
            clip_foreign(&asked.requester, QUOTED_COLUMNS),
            clipped(&asked.text)
        ),
    ];
    opening.extend(message.map(clipped));
    Said {
        opening,
        lines: Vec::new(),
        action: "Look at it in the console".into(),
        url: format!("{}/console/executions/{}", engine.config().public_url, asked.execution),
        closing: vec!["Nothing is decided by this link; the console asks you to sign in.".into()],
    }
}

/// A letter that shows whoever asks that letters come.
pub(super) fn test(workspace: &WorkspaceId, event: &CloudEvent) -> Result<Letter, SendError> {
    let title = "Mails reach you";
    let said = Said {
        opening: vec![format!("This is a test of workspace {workspace}. Nothing waits for you.")],
        lines: Vec::new(),
        action: String::new(),
        url: String::new(),
        closing: Vec::new(),
    };
    written(format!("[{workspace}] {title}"), title, &said, event.id.clone())
}

/// A letter to the address that a person had: requests go to another one now.
pub(super) fn address_replaced(
    workspace: &WorkspaceId,
    (person, changed): (&str, &GovernanceChanged),
    address: &MailAddress,
) -> Result<Letter, SendError> {
    let title = "Your mail address was replaced";
    let said = Said {
        opening: vec![
            format!(
                "{} changed the mail address of the person {} in workspace {workspace} at {}.",
                clip_foreign(&changed.actor_id, QUOTED_COLUMNS),
                clip_foreign(person, QUOTED_COLUMNS),
                changed.at
            ),
            "What waits for this person is sent elsewhere from now on, with links that decide in \
             their name; links that were sent here before open nothing."
                .into(),
            "If this is you and you did not expect it, tell somebody who keeps the directory of \
             the workspace at once."
                .into(),
        ],
        lines: Vec::new(),
        action: String::new(),
        url: String::new(),
        closing: Vec::new(),
    };
    let parts: [&[u8]; 5] = [
        b"countersign/mail/replaced",
        workspace.as_str().as_bytes(),
        person.as_bytes(),
        address.as_str().as_bytes(),
        &changed.at.ms().to_be_bytes(),
    ];
    written(format!("[{workspace}] {title}"), title, &said, canonical::digest_parts(&parts))
}

fn written(
    subject: String,
    title: &str,
    said: &Said,
    name: contracts::Digest,
) -> Result<Letter, SendError> {
    let text = Text { said }.render().map_err(unwritten)?;
    let html = Html { title, said }.render().map_err(unwritten)?;
    Ok(Letter { subject, text, html, name })
}

fn clipped(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_COLUMNS).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{more}", quote_foreign(&shown))
}

/// One request of a digest.
struct Item {
    what: String,
    until: String,
    url: String,
}

#[derive(Template)]
#[template(path = "digest.txt")]
struct DigestText<'l> {
    workspace: &'l str,
    items: &'l [Item],
}

#[derive(Template)]
#[template(path = "digest.html")]
struct DigestHtml<'l> {
    title: &'l str,
    items: &'l [Item],
}

/// What waits for a person, in one letter.
pub(super) async fn digest(
    engine: &Engine,
    workspace: &WorkspaceId,
    person: &str,
    requests: &[AskedApproval],
) -> Result<Letter, SendError> {
    let mut items = Vec::with_capacity(requests.len());
    let mut name: Vec<&[u8]> =
        vec![b"countersign/mail/digest", workspace.as_str().as_bytes(), person.as_bytes()];
    for approval in requests {
        let about = (&approval.asked.execution, &approval.id);
        let url = engine.links.mint(workspace, about, person, approval.expires_at).await;
        let risk = approval.asked.risk.map(|risk| format!(" ({} risk)", Open::from(risk)));
        items.push(Item {
            what: format!(
                "{} asks: {}{}",
                clip_foreign(&approval.asked.requester, QUOTED_COLUMNS),
                clipped(&approval.asked.text),
                risk.unwrap_or_default()
            ),
            until: approval.expires_at.to_string(),
            url: url.map_err(super::failed)?,
        });
        name.push(approval.id.as_str().as_bytes());
    }
    let title = format!("{} requests wait for you", items.len());
    let text = DigestText { workspace: workspace.as_str(), items: &items }.render();
    let html = DigestHtml { title: &title, items: &items }.render();
    Ok(Letter {
        subject: format!("[{workspace}] {title}"),
        text: text.map_err(unwritten)?,
        html: html.map_err(unwritten)?,
        name: canonical::digest_parts(&name),
    })
}
