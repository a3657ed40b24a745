//! The directory of a workspace: persons, the identities by which channels know them, and groups.

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// controlPlane.person.put: adds a person or replaces what is known of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutPerson {
    pub person: Person,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person. One person has one voice, by whatever identity it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// The actor id (of kind `human`) as whom the person acts: keys that are bound to the person,
    /// links, Slack and the console all act as this one. Canonical, as in `key.create`; no `/`.
    pub id: String,
    /// As people are shown it, at most 128 bytes on one line; proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where mails go: one plain ASCII address. No two persons have the same, in whatever letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// No two persons have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackIdentity>,
    /// As whom the deployment's identity provider knows the person. No two persons have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcIdentity>,
    /// Other actor ids and mail addresses of the same person: whoever is excluded under one of them
    /// is excluded. At most 10, and no two persons have the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// What is of low or medium risk is told in one mail an hour; else each request at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub digest: bool,
    /// Who decides in the person's place meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Delegate>,
}

/// A Slack user; the team says of which workspace of Slack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackIdentity {
    pub team_id: String,
    pub user_id: String,
}

/// Who somebody is to an identity provider (OpenID Connect Core 1.0, 2): no name and no mail
/// address, which may change hands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcIdentity {
    /// The provider's `iss`, character by character.
    pub issuer: String,
    /// The provider's `sub`: at most 255 printable ASCII characters.
    pub subject: String,
}

/// Until when another person has this person's places in groups, beside their own. A place that
/// both use counts once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delegate {
    /// Another person.
    pub to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// After `from`, and at most 90 days from now.
    pub until: Timestamp,
}

/// A person as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonView {
    #[serde(flatten)]
    pub person: Person,
    /// The person's groups.
    pub groups: Vec<String>,
    pub updated_at: Timestamp,
}

/// controlPlane.person.list and controlPlane.group.list
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListDirectory {}

/// The persons of a workspace, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonList {
    pub items: Vec<PersonView>,
}

/// controlPlane.person.remove: the person leaves every group; keys, links and sessions of theirs
/// end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemovePerson {
    pub person_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonRemoved {
    pub removed: String,
}

/// controlPlane.group.put: adds a group or replaces it; one without members and claim ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutGroup {
    pub group: Group,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A group of persons, as `@approvers` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// A lower-case letter, then lower-case letters, digits and `-`. Not `approvers`: that is
    /// everybody who may decide.
    pub name: String,
    /// Ids of persons, at most 200. Of a group with a claim they are those whom their last sign-in
    /// gave it, and are not put.
    pub members: BTreeSet<String>,
    /// Its members are those in whose groups claim the identity provider says this, each for 12
    /// hours from signing in. Who says so here is no member by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Who counts as well when nobody of it decides in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalate>,
    /// A person who did not decide is reminded after so many seconds, once: 60 to 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_after_seconds: Option<u32>,
}

/// After a time the members of another group count for this one, too; who they escalate to does
/// not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Escalate {
    /// Another group.
    pub to: String,
    /// From when it was asked: 60 to 30 days.
    pub after_seconds: u32,
}

/// The groups of a workspace, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupList {
    pub items: Vec<Group>,
}
