//! What the steps gave. Sensitive places are sealed, here as everywhere.

use super::unwritten;
use crate::page::Page;
use askama::Template;
use contracts::{ExecutionId, endpoint::named, query::GetTrace};
use engine::{Answer, Engine};
use pages::Html;

/// Characters of one output that are shown.
const OUTPUT_COLUMNS: usize = 4_000;
/// Characters of all outputs together.
const OUTPUTS_COLUMNS: usize = 24_000;

struct Output {
    step: String,
    json: String,
    sealed: Vec<String>,
}

#[derive(Template)]
#[template(path = "outputs.html")]
struct OutputsPart {
    outputs: Vec<Output>,
    /// Steps whose outputs have no room.
    omitted: Vec<String>,
}

/// The outputs, one after another, as far as there is room.
pub(super) async fn part(engine: &Engine, page: &Page<'_>, id: &ExecutionId) -> Answer<Html> {
    page.caller.require_endpoint(const { named("trace.get") })?;
    let request =
        GetTrace { execution_id: id.clone(), include_payloads: true, from_seq: Some(u64::MAX) };
    let trace = engine.queries.trace(page.caller, request).await?;
    let (mut outputs, mut room) = (Vec::new(), page.visit.rows(OUTPUTS_COLUMNS));
    let mut omitted: Vec<String> = trace.payloads_omitted.iter().map(ToString::to_string).collect();
    for (step, value) in &trace.payloads {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        if room == 0 {
            omitted.push(pages::shown(step));
            continue;
        }
        let lines: Vec<String> =
            text.lines().map(|line| pages::cut(line, OUTPUT_COLUMNS)).collect();
        let mut json = lines.join("\n");
        let columns = json.chars().count();
        let most = OUTPUT_COLUMNS.min(room);
        if columns > most {
            json = json.chars().take(most).collect::<String>() + "\n… (cut here)";
        }
        room -= columns.min(most);
        let seals = trace.seals.get(step);
        let sealed = seals.into_iter().flat_map(|seals| seals.keys());
        let sealed = sealed.map(|pointer| pages::shown(pointer)).collect();
        outputs.push(Output { step: pages::shown(step), json, sealed });
    }
    Html::of(&OutputsPart { outputs, omitted }).map_err(|error| unwritten(&error))
}
