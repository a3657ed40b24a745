//! Mails of `countersign dev` where no mail server is set up: read from its data folder.

use crate::{
    error::{CliError, Exit},
    ids::{self, Short},
    output::{self, Output},
    render::{self, dim},
    visible,
};
use anstream::{print, println};
use clap::{Args, Subcommand};
use cs_core::text::cell_foreign;
use local::mail::{FOLDER, KeptMail, MailFolder};
use mail_parser::{Message, MessageParser};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// Columns of an address, and of a subject.
const ADDRESS_COLUMNS: usize = 40;
const SUBJECT_COLUMNS: usize = 100;
/// What the address of a link has before its token.
const LINK_MARK: &str = "/a/";
/// Stands for the last mail.
const LATEST: &str = "latest";

/// The folder of `countersign dev`.
#[derive(Args)]
pub struct Folder {
    /// Its data folder.
    #[arg(long, default_value = ".countersign")]
    data: PathBuf,
}

#[derive(Subcommand)]
pub enum MailCommand {
    /// List the mails, the latest last.
    List {
        #[command(flatten)]
        folder: Folder,
    },
    /// Show a mail's text.
    Show {
        /// Its id, or `latest`.
        id: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Print the link of the latest mail to an address that has one.
    Link {
        /// Whom the mail was to.
        address: String,
        #[command(flatten)]
        folder: Folder,
    },
}

/// Runs a command on the kept mails.
pub fn run(command: MailCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        MailCommand::List { folder } => {
            let mails = kept(&folder)?;
            let heads: Vec<Head> = mails.iter().map(Head::read).collect::<Result<_, _>>()?;
            if output.json {
                let items: Vec<Value> = heads.iter().map(Head::json).collect();
                output::json(&json!({ "items": items }));
            } else {
                list(&heads, output.wide);
            }
        }
        MailCommand::Show { id, folder } => {
            let mails = kept(&folder)?;
            let mail = if id == LATEST {
                mails.last()
            } else {
                let id = ids::one("mail", &id, mails.iter().map(|mail| mail.id.as_str()))?;
                mails.iter().find(|mail| mail.id == id)
            };
            let mail = mail.ok_or_else(|| CliError::Local("no mail was sent".into()))?;
            show(&Head::read(mail)?, output);
        }
        MailCommand::Link { address, folder } => link(&address, &kept(&folder)?, output)?,
    }
    Ok(Exit::Done)
}

fn kept(folder: &Folder) -> Result<Vec<KeptMail>, CliError> {
    let path = folder.data.join(FOLDER);
    MailFolder::list(&path).map_err(|error| {
        CliError::Local(format!(
            "{}: {error}; `--data` names the folder of `countersign dev`",
            path.display()
        ))
    })
}

/// What is shown of a mail.
struct Head {
    id: String,
    to: String,
    subject: String,
    text: String,
}

impl Head {
    fn read(mail: &KeptMail) -> Result<Self, CliError> {
        let bytes = fs::read(&mail.path).map_err(CliError::local)?;
        let message = MessageParser::default().parse(&bytes);
        let message = message
            .ok_or_else(|| CliError::Local(format!("{} is no mail", mail.path.display())))?;
        Ok(Self {
            id: mail.id.clone(),
            to: recipient(&message),
            subject: message.subject().unwrap_or_default().to_owned(),
            text: message.body_text(0).unwrap_or_default().into_owned(),
        })
    }

    fn json(&self) -> Value {
        json!({ "id": self.id, "to": self.to, "subject": self.subject })
    }
}

fn recipient(message: &Message<'_>) -> String {
    let first = message.to().and_then(|to| to.first());
    first.and_then(|to| to.address()).unwrap_or_default().to_owned()
}

fn list(heads: &[Head], wide: bool) {
    let short = Short::among(heads.iter().map(|head| head.id.as_str()));
    let rows: Vec<Vec<String>> = heads
        .iter()
        .map(|head| {
            let id = if wide { head.id.as_str() } else { short.of(&head.id) };
            let to = cell_foreign(&head.to, ADDRESS_COLUMNS);
            vec![id.to_owned(), to, cell_foreign(&head.subject, SUBJECT_COLUMNS)]
        })
        .collect();
    match rows.is_empty() {
        true => println!("{}", dim("no mail was sent")),
        false => render::table(&["mail", "to", "subject"], &rows),
    }
}

fn link(address: &str, mails: &[KeptMail], output: Output) -> Result<(), CliError> {
    for mail in mails.iter().rev() {
        let head = Head::read(mail)?;
        let mut words = head.text.split_whitespace();
        let link = words.find(|word| word.starts_with("http") && word.contains(LINK_MARK));
        let Some(link) = link.filter(|_| head.to == address) else { continue };
        match output.json {
            true => output::json(&json!({ "link": link, "mail": head.id })),
            false => println!("{link}"),
        }
        return Ok(());
    }
    Err(CliError::Local(format!("no mail to `{address}` has a link; `countersign mail list`")))
}

fn show(head: &Head, output: Output) {
    if output.json {
        let Head { id, to, subject, text } = head;
        output::json(&json!({ "id": id, "to": to, "subject": subject, "text": text }));
        return;
    }
    println!("{} {}", dim("to     "), cell_foreign(&head.to, ADDRESS_COLUMNS));
    println!("{} {}\n", dim("subject"), cell_foreign(&head.subject, SUBJECT_COLUMNS));
    print!("{}", visible::document(&head.text));
}
