//! GitHub's webhooks: issues that are opened and comments on issues and pull requests. Signed by
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.

use super::{
    Address, ChannelError, Delivery, Received,
    json::{Document, external_id, said},
    mac,
};
use contracts::channel::{InboundEvent, InboundMessage, InboundMetadata, Provider, Thread};

pub(super) fn receive(
    address: &Address<'_>,
    delivery: &Delivery<'_>,
    secret: &str,
) -> Result<Received, ChannelError> {
    let signature = delivery.header("x-hub-signature-256")?;
    mac::check_hex(("sha256=", signature), secret, &[delivery.body])?;
    let id = external_id(delivery.header("x-github-delivery")?.to_owned())?;
    let kind = delivery.header("x-github-event")?;
    let document = Document::parse(delivery.body)?;
    Ok(Received::Events(event(address, (id, kind), &document)?.into_iter().collect()))
}

fn event(
    address: &Address<'_>,
    (id, kind): (String, &str),
    document: &Document,
) -> Result<Option<InboundEvent>, ChannelError> {
    let said_in = match (kind, document.str("/action")) {
        ("issue_comment", Some("created")) => "/comment",
        ("issues", Some("opened")) => "/issue",
        _ => return Ok(None),
    };
    let user = document.id("/sender/id")?;
    // What an app writes in a person's name is the app's.
    let by_app = document.has(&format!("{said_in}/performed_via_github_app"));
    if !document.is("/sender/type", "User") || by_app || Some(user.as_str()) == address.own_user_id
    {
        return Ok(None);
    }
    let body = document.str(&format!("{said_in}/body")).unwrap_or_default();
    let text = match kind {
        "issues" => {
            let title = document.str("/issue/title").unwrap_or_default();
            format!("{title}\n\n{body}").trim_end().to_owned()
        }
        _ => body.to_owned(),
    };
    let Some(text) = said(text)? else { return Ok(None) };
    let (created, message) = match said_in {
        "/comment" => (document.str("/comment/created_at"), document.id("/comment/id")?),
        _ => (document.str("/issue/created_at"), document.id("/issue/id")?),
    };
    let created = created.and_then(|text| text.parse().ok());
    Ok(Some(InboundEvent {
        workspace_id: address.workspace.clone(),
        provider_key: Provider::Github,
        external_event_id: id,
        event_type: kind.to_owned(),
        occurred_at: created.ok_or(ChannelError::Malformed("created_at"))?,
        thread: Thread {
            external_thread_id: document.id("/issue/number")?,
            external_channel_id: Some(document.id("/repository/full_name")?),
            external_user_id: Some(user),
        },
        message: Some(InboundMessage { text, external_message_id: Some(message) }),
        metadata: InboundMetadata {
            team: document.id("/repository/owner/login")?,
            user_team: None,
        },
    }))
}
