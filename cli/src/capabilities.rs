//! What a deployment offers.

use crate::{
    context::Context,
    error::{CliError, Exit},
    render,
};
use contracts::{operation as op, query::GetCapabilities};

/// Shows what the deployment offers.
pub async fn run(context: &Context) -> Result<Exit, CliError> {
    let answer = context.client.call(&op::CAPABILITIES, &GetCapabilities {}).await?;
    context.output.show(&answer, |offers| {
        let rows: Vec<Vec<String>> = offers
            .capabilities
            .iter()
            .map(|offer| {
                let offered = if offer.offered { "enabled" } else { "absent" };
                let count = offer.operations.len().to_string();
                vec![offer.key.to_string(), offer.version.clone(), offered.to_owned(), count]
            })
            .collect();
        render::table(&["capability", "version", "offered", "operations"], &rows);
    })?;
    Ok(Exit::Done)
}
