//! Persons and groups: who is who, and whose approval a policy asks for.

use crate::{
    context::Context,
    error::{CliError, Exit},
    render::{self, dim},
    visible::Visible,
};
use anstream::println;
use clap::{Args, Subcommand};
use contracts::{
    Timestamp,
    directory::{
        Delegate, Escalate, Group, GroupList, ListDirectory, OidcIdentity, Person, PersonList,
        PutGroup, PutPerson, RemovePerson, SlackIdentity,
    },
    operation as op,
};

#[derive(Subcommand)]
pub enum PersonCommand {
    /// Add a person, or replace all that is known of one.
    Put(Box<PutPersonArgs>),
    /// List the persons.
    List,
    /// Remove a person: from every group; their keys, links and sessions end.
    Remove {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Args)]
pub struct PutPersonArgs {
    /// As whom the person acts.
    id: String,
    /// As people are shown it.
    #[arg(long)]
    name: Option<String>,
    /// Where mails go.
    #[arg(long)]
    mail: Option<String>,
    /// Tell the person of what is of low or medium risk in one mail an hour.
    #[arg(long)]
    digest: bool,
    /// The user of Slack, as TEAM/USER.
    #[arg(long, value_name = "TEAM/USER", value_parser = slack)]
    slack: Option<SlackIdentity>,
    /// As whom the identity provider knows the person: its issuer, a blank, and the subject.
    #[arg(long, value_name = "ISSUER SUBJECT", value_parser = oidc)]
    oidc: Option<OidcIdentity>,
    /// Another actor's id or mail address of the same person; may be given several times.
    #[arg(long = "alias", value_name = "ID")]
    aliases: Vec<String>,
    /// Another person, who has this person's places in groups meanwhile.
    #[arg(long, requires = "until")]
    delegate: Option<String>,
    /// From when. RFC 3339; now, if absent.
    #[arg(long, requires = "delegate")]
    from: Option<Timestamp>,
    /// Until when. RFC 3339.
    #[arg(long, requires = "delegate")]
    until: Option<Timestamp>,
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Subcommand)]
pub enum GroupCommand {
    /// Add a group, or replace it. Without members and claim it ends.
    Put {
        name: String,
        /// Ids of persons.
        members: Vec<String>,
        /// Its members are those in whose groups claim the identity provider says this.
        #[arg(long, conflicts_with = "members")]
        claim: Option<String>,
        /// Another group, whose members count as well after a time.
        #[arg(long, value_name = "GROUP", requires = "after_seconds")]
        escalate: Option<String>,
        /// After so many seconds.
        #[arg(long, requires = "escalate")]
        after_seconds: Option<u32>,
        /// Who has not decided is reminded once, after so many seconds.
        #[arg(long)]
        remind_after_seconds: Option<u32>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the groups.
    List,
}

fn oidc(text: &str) -> Result<OidcIdentity, String> {
    let (issuer, subject) = text.split_once(' ').ok_or("write 'ISSUER SUBJECT'")?;
    Ok(OidcIdentity { issuer: issuer.to_owned(), subject: subject.to_owned() })
}

fn slack(text: &str) -> Result<SlackIdentity, String> {
    let (team, user) = text.split_once('/').ok_or("write TEAM/USER")?;
    Ok(SlackIdentity { team_id: team.to_owned(), user_id: user.to_owned() })
}

/// Runs a command on persons.
pub async fn person(context: &Context, command: PersonCommand) -> Result<Exit, CliError> {
    match command {
        PersonCommand::Put(args) => {
            let answer = context.client.call(&op::PERSON_PUT, &args.request()).await?;
            context.output.show(&answer, |put| println!("{}", put.person.id))?;
        }
        PersonCommand::List => {
            let answer = context.client.call(&op::PERSON_LIST, &ListDirectory {}).await?;
            context.output.show(&answer, persons)?;
        }
        PersonCommand::Remove { id, reason } => {
            let request = RemovePerson { person_id: id, reason };
            let answer = context.client.call(&op::PERSON_REMOVE, &request).await?;
            context.output.show(&answer, |done| println!("{} removed", done.removed))?;
        }
    }
    Ok(Exit::Done)
}

impl PutPersonArgs {
    fn request(self) -> PutPerson {
        let until = self.delegate.zip(self.until);
        let delegate = until.map(|(to, until)| Delegate { to, from: self.from, until });
        let person = Person {
            id: self.id,
            name: self.name,
            mail: self.mail,
            slack: self.slack,
            oidc: self.oidc,
            aliases: self.aliases.into_iter().collect(),
            digest: self.digest,
            delegate,
        };
        PutPerson { person, reason: self.reason }
    }
}

/// Runs a command on groups.
pub async fn group(context: &Context, command: GroupCommand) -> Result<Exit, CliError> {
    match command {
        GroupCommand::Put {
            name,
            members,
            claim,
            escalate,
            after_seconds,
            remind_after_seconds,
            reason,
        } => {
            let escalate = escalate.zip(after_seconds);
            let escalate = escalate.map(|(to, after_seconds)| Escalate { to, after_seconds });
            let members = members.into_iter().collect();
            let group = Group { name, members, claim, escalate, remind_after_seconds };
            let answer = context.client.call(&op::GROUP_PUT, &PutGroup { group, reason }).await?;
            let ended = |group: &Group| group.members.is_empty() && group.claim.is_none();
            context.output.show(&answer, |group| match ended(group) {
                true => println!("{} ended", group.name),
                false => println!("{}", group.name),
            })?;
        }
        GroupCommand::List => {
            let answer = context.client.call(&op::GROUP_LIST, &ListDirectory {}).await?;
            context.output.show(&answer, groups)?;
        }
    }
    Ok(Exit::Done)
}

fn persons(list: &Visible<PersonList>) {
    let row = |view: &contracts::directory::PersonView| {
        let person = &view.person;
        let delegate = person.delegate.as_ref();
        let delegate =
            delegate.map(|one| format!("{} until {}", one.to, render::moment(one.until)));
        vec![
            person.id.clone(),
            person.name.clone().unwrap_or_default(),
            person.mail.clone().unwrap_or_default(),
            view.groups.join(", "),
            delegate.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = list.items.iter().map(row).collect();
    match rows.is_empty() {
        true => println!("{}", dim("nobody is in the directory")),
        false => render::table(&["person", "name", "mail", "groups", "delegate"], &rows),
    }
}

fn groups(list: &Visible<GroupList>) {
    let row = |group: &Group| {
        let escalate = group.escalate.as_ref();
        let escalate = escalate.map(|one| format!("{} after {} s", one.to, one.after_seconds));
        let members: Vec<&str> = group.members.iter().map(String::as_str).collect();
        let claim = group.claim.clone().unwrap_or_default();
        vec![group.name.clone(), members.join(", "), claim, escalate.unwrap_or_default()]
    };
    let rows: Vec<Vec<String>> = list.items.iter().map(row).collect();
    match rows.is_empty() {
        true => println!("{}", dim("there is no group")),
        false => render::table(&["group", "members", "claim", "escalates to"], &rows),
    }
}
