//! Where stage events are sent.

use crate::{
    context::Context,
    error::{CliError, Exit},
    ids::{self, Short},
    render::{self, bold, dim, green},
    visible::Visible,
};
use anstream::println;
use clap::Subcommand;
use contracts::{
    operation as op,
    subscription::{
        CreateSubscription, ListSubscriptions, NamedSubscription, RedeliverSubscription,
        SecretRotated, SubscriptionList, SubscriptionRedelivered, SubscriptionTested, TargetState,
    },
};

#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Have stage events sent to a URL, or to a mail address (`mailto:ada@example.com`). What signs
    /// those to a URL is printed once and shown nowhere else.
    Create {
        url: String,
        /// Only events of this type, for example `controlPlane.execution.completed`; may be given
        /// several times.
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
    },
    /// List the subscriptions.
    List,
    /// End a subscription.
    Remove { id: String },
    /// Send a signed test event now, and say what came of it.
    Test { id: String },
    /// Send again what was given up: all of a subscription, or one execution's events.
    Redeliver {
        id: String,
        /// An execution, or `log`.
        #[arg(long)]
        subject: Option<String>,
    },
    /// Give a subscription another secret; the one before it signs along for a day.
    RotateSecret { id: String },
}

/// Runs a command on subscriptions.
pub async fn run(context: &Context, command: WebhookCommand) -> Result<Exit, CliError> {
    match command {
        WebhookCommand::Create { url, types } => {
            let request = CreateSubscription { url, types };
            let answer = context.client.call(&op::SUBSCRIPTION_CREATE, &request).await?;
            context.output.show(&answer, |made| {
                println!("{} {}", green("✓"), bold(&made.subscription.id));
                if !made.subscription.url.starts_with("mailto:") {
                    secret(made.secret.as_deref());
                }
            })?;
        }
        WebhookCommand::List => {
            let answer = context.client.call(&op::SUBSCRIPTION_LIST, &ListSubscriptions {}).await?;
            context.output.show(&answer, |list| shown(list, context.output.wide))?;
        }
        WebhookCommand::Remove { id } => {
            let request = named(context, &id).await?;
            let answer = context.client.call(&op::SUBSCRIPTION_REMOVE, &request).await?;
            context.output.show(&answer, |done| println!("{} removed", done.removed))?;
        }
        WebhookCommand::Test { id } => {
            let request = named(context, &id).await?;
            let answer = context.client.call(&op::SUBSCRIPTION_TEST, &request).await?;
            let delivered = answer.delivered;
            context.output.show(&answer, |tested: &Visible<SubscriptionTested>| {
                match (tested.delivered, &tested.message) {
                    (true, _) => println!("{} the subscriber took it", green("✓")),
                    (false, why) => {
                        println!("not delivered: {}", why.as_deref().unwrap_or("no reason given"));
                    }
                }
            })?;
            return Ok(if delivered { Exit::Done } else { Exit::NotDone });
        }
        WebhookCommand::Redeliver { id, subject } => {
            let webhook_id = named(context, &id).await?.webhook_id;
            let request = RedeliverSubscription { webhook_id, subject };
            let answer = context.client.call(&op::SUBSCRIPTION_REDELIVER, &request).await?;
            context.output.show(&answer, |sent: &Visible<SubscriptionRedelivered>| {
                println!(
                    "{} taken up again, {} delivered by now",
                    sent.redelivered, sent.delivered
                );
                if sent.more {
                    println!("{}", dim("there are more: redeliver once more"));
                }
            })?;
        }
        WebhookCommand::RotateSecret { id } => {
            let request = named(context, &id).await?;
            let answer = context.client.call(&op::SUBSCRIPTION_SECRET_ROTATE, &request).await?;
            context.output.show(&answer, |rotated: &Visible<SecretRotated>| {
                let until = render::moment(rotated.overlap_until);
                println!("{}", dim(&format!("the one before it signs along until {until}")));
                secret(rotated.secret.as_deref());
            })?;
        }
    }
    Ok(Exit::Done)
}

fn secret(secret: Option<&str>) {
    match secret {
        Some(secret) => println!("{}\n{secret}", dim("shown once:")),
        None => println!("{}", dim("its secret was shown when it was made")),
    }
}

async fn named(context: &Context, id: &str) -> Result<NamedSubscription, CliError> {
    let list = context.client.call(&op::SUBSCRIPTION_LIST, &ListSubscriptions {}).await?;
    let known = list.items.iter().map(|item| item.subscription.id.as_str());
    Ok(NamedSubscription { webhook_id: ids::one("subscription", id, known)?.to_owned() })
}

fn shown(list: &Visible<SubscriptionList>, wide: bool) {
    let short = Short::among(list.items.iter().map(|item| item.subscription.id.as_str()));
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|item| {
            let id =
                if wide { item.subscription.id.as_str() } else { short.of(&item.subscription.id) };
            let types = match item.subscription.types.is_empty() {
                true => "all".to_owned(),
                false => item.subscription.types.join(" "),
            };
            let more = if item.partial { "+" } else { "" };
            vec![
                id.to_owned(),
                item.subscription.url.clone(),
                types,
                state(item.state).to_owned(),
                format!("{}{more}", item.waiting),
                format!("{}{more}", item.dead),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => println!("{}", dim("no subscriptions")),
        false => render::table(&["webhook", "url", "events", "state", "waiting", "dead"], &rows),
    }
}

const fn state(state: TargetState) -> &'static str {
    match state {
        TargetState::Working => "working",
        TargetState::Failing => "failing",
        TargetState::Down => "down",
    }
}
