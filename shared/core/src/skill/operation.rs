//! One operation of a manifest: what is wrong with it, and how it is compiled.

use super::{KEY_FORM, is_key};
use crate::{schema::Schema, schema_fit::SchemaAt, target};
use contracts::{
    Issue,
    limits::{NAME_BYTES_MAX, STEP_ATTEMPTS_MAX, STEP_TIMEOUT_SECONDS_MAX},
    manifest::{Binding, Compensate, Manifest, Money, MoneyUnit, Operation},
    plan::RetryPolicy,
    verdict::Effect,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// One operation with its schemas compiled.
#[derive(Debug)]
pub struct CompiledOperation {
    pub spec: Operation,
    pub input: Schema,
    pub output: Schema,
    /// Labels that the input accepts; `None`: all but [`SECRET`].
    pub accepts: Option<BTreeSet<String>>,
    /// Labels that the input never accepts.
    pub refuses: BTreeSet<String>,
    pub retry: RetryPolicy,
}

/// The label of data that no operation accepts unless its manifest says so.
pub const SECRET: &str = "secret";

impl CompiledOperation {
    /// Whether its input accepts data with this label.
    pub fn accepts_label(&self, label: &str) -> bool {
        self.accepts.as_ref().map_or(label != SECRET, |accepted| accepted.contains(label))
    }
}

// Its schemas compiled, or the issues that prevent it.
pub(super) fn compile(
    spec: &Operation,
    manifest: &Manifest,
    pointer: &str,
) -> Result<CompiledOperation, Vec<Issue>> {
    let mut check = Check { spec, manifest, pointer, issues: Vec::new() };
    if !is_key(&spec.key) {
        check.bad("key", KEY_FORM);
    }
    let input = check.schema("inputSchema", &spec.input_schema);
    let output = check.schema("outputSchema", &spec.output_schema);
    if let Some(input) = &input {
        check.input(input);
    }
    check.names();
    check.limits();
    check.probe();
    if let Some(compensate) = &spec.compensate {
        check.compensate(compensate, input.as_ref(), output.as_ref());
    }
    check.binding();
    match (input, output) {
        (Some(input), Some(output)) if check.issues.is_empty() => Ok(CompiledOperation {
            spec: spec.clone(),
            input,
            output,
            accepts: accepts(spec),
            refuses: spec.labels.iter().flat_map(|labels| labels.refuses.clone()).collect(),
            retry: retry(spec),
        }),
        _ => Err(check.issues),
    }
}

// Labels that the input accepts; a writing operation accepts none that it does not name.
fn accepts(spec: &Operation) -> Option<BTreeSet<String>> {
    let declared = spec.labels.as_ref().and_then(|labels| labels.accepts.clone());
    match (declared, spec.effect) {
        (Some(list), _) => Some(list.into_iter().collect()),
        (None, Effect::Read) => None,
        (None, Effect::Idempotent | Effect::NonIdempotent) => Some(BTreeSet::new()),
    }
}

fn retry(spec: &Operation) -> RetryPolicy {
    // Repeating is safe for these two; a lost non-idempotent call is never repeated on its own.
    let attempts = if spec.effect == Effect::NonIdempotent { 1 } else { 3 };
    spec.retry.as_ref().map_or(
        RetryPolicy { max_attempts: attempts, backoff_seconds: 1, max_backoff_seconds: 30 },
        |retry| RetryPolicy {
            max_attempts: retry.max_attempts,
            backoff_seconds: retry.backoff_seconds,
            max_backoff_seconds: retry.max_backoff_seconds.max(retry.backoff_seconds),
        },
    )
}

/// One check of an operation.
struct Check<'m> {
    spec: &'m Operation,
    manifest: &'m Manifest,
    /// Where the operation stands in the manifest.
    pointer: &'m str,
    issues: Vec<Issue>,
}

impl<'m> Check<'m> {
    fn bad(&mut self, pointer: &str, message: impl Into<String>) {
        self.issues.push(Issue::new(format!("{}/{pointer}", self.pointer), message));
    }

    fn schema(&mut self, pointer: &str, source: &Value) -> Option<Schema> {
        Schema::compile(source).map_err(|message| self.bad(pointer, message)).ok()
    }

    // The input is an object, and has what the manifest points to in it.
    fn input(&mut self, input: &Schema) {
        if input.source().get("type").and_then(Value::as_str) != Some("object") {
            self.bad("inputSchema/type", "an input is an object: state `\"type\": \"object\"`");
        }
        let radius = self.spec.blast_radius.as_ref();
        let money = radius.and_then(|radius| radius.money.as_ref());
        let pointers = [
            ("resource", self.spec.resource.as_ref()),
            ("blastRadius/recipients", radius.and_then(|radius| radius.recipients.as_ref())),
            ("blastRadius/money/amount", money.map(|money| &money.amount)),
            (
                "blastRadius/money/currency",
                money.map(|money| &money.currency).filter(|code| code.starts_with('/')),
            ),
        ];
        for (at, pointer) in pointers.into_iter().filter_map(|(at, pointer)| Some((at, pointer?))) {
            if !input.at(pointer).is_declared() {
                self.bad(at, format!("the input schema has no `{pointer}`"));
            }
        }
        if let Some(money) = money {
            self.money(money, input);
        }
    }

    // An operation whose amounts can never be measured is refused here; others are measured with
    // each
    // input.
    fn money(&mut self, money: &Money, input: &Schema) {
        if let Some(why) =
            crate::plan::measure::stated_currency(money).and_then(crate::currency::fault)
        {
            self.bad(
                "blastRadius/money/currency",
                format!("{why}; or a JSON pointer into the input"),
            );
        }
        let kinds = |found: SchemaAt<'_>| match found {
            SchemaAt::Schema(schema) => match schema.get("type") {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(many)) => {
                    many.iter().filter_map(|kind| kind.as_str().map(str::to_owned)).collect()
                }
                _ => Vec::new(),
            },
            SchemaAt::Anything | SchemaAt::Unnamed(_) | SchemaAt::Nothing(_) => Vec::new(),
        };
        let kinds = kinds(input.at(&money.amount));
        let (allowed, said): (&[&str], _) = match money.unit {
            MoneyUnit::Minor => (
                &["integer"],
                "minor units are counted, so the schema there says `\"type\": \"integer\"`; else \
                 state `\"unit\": \"major\"`",
            ),
            MoneyUnit::Major => (
                &["integer", "number", "string"],
                "an exact decimal: the schema there says `integer`, `number` or `string`",
            ),
        };
        if kinds.is_empty() || kinds.iter().any(|kind| !allowed.contains(&kind.as_str())) {
            self.bad("blastRadius/money/amount", said);
        }
    }

    fn names(&mut self) {
        let labels = self.spec.labels.iter().flat_map(|labels| {
            labels.output.iter().chain(labels.accepts.iter().flatten()).chain(&labels.refuses)
        });
        let grants = self.spec.required_grants.iter().map(|name| ("requiredGrants", name));
        for (at, name) in grants.chain(labels.map(|name| ("labels", name))) {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                self.bad(at, format!("a name of 1 to {NAME_BYTES_MAX} bytes"));
            }
        }
    }

    fn limits(&mut self) {
        if !(1..=STEP_TIMEOUT_SECONDS_MAX).contains(&self.spec.timeout_seconds) {
            self.bad("timeoutSeconds", format!("1 to {STEP_TIMEOUT_SECONDS_MAX} seconds"));
        }
        if self
            .spec
            .retry
            .as_ref()
            .is_some_and(|retry| !(1..=STEP_ATTEMPTS_MAX).contains(&retry.max_attempts))
        {
            self.bad("retry/maxAttempts", format!("1 to {STEP_ATTEMPTS_MAX}"));
        }
    }

    // Another operation of the skill.
    fn sibling(&self, key: &str) -> Option<&'m Operation> {
        self.manifest.operations.iter().find(|other| other.key == key)
    }

    fn probe(&mut self) {
        if let Some(probe) = &self.spec.probe
            && self.sibling(probe).is_none_or(|probe| probe.effect != Effect::Read)
        {
            self.bad(
                "probe",
                format!("`{probe}` is not an operation of this skill with effect `read`"),
            );
        }
    }

    // What undoes it writes, and gets all that it requires from what this one takes and gives.
    fn compensate(
        &mut self,
        compensate: &Compensate,
        input: Option<&Schema>,
        output: Option<&Schema>,
    ) {
        let undo = self.sibling(&compensate.operation);
        let wanted = undo.and_then(|undo| undo.input_schema.get("required")?.as_array());
        for field in wanted.into_iter().flatten().filter_map(Value::as_str) {
            if !compensate.input.contains_key(field) {
                self.bad(
                    "compensate/input",
                    format!("`{}` requires `{field}`, which nothing gives", compensate.operation),
                );
            }
        }
        if undo.is_none_or(|undo| undo.effect == Effect::Read) {
            self.bad(
                "compensate/operation",
                format!("`{}` is not a writing operation of this skill", compensate.operation),
            );
        }
        for (field, pointer) in &compensate.input {
            let found = match (
                pointer.strip_prefix("/input"),
                pointer.strip_prefix("/output"),
                input,
                output,
            ) {
                (Some(rest), _, Some(input), _) => input.at(rest),
                (_, Some(rest), _, Some(output)) => output.at(rest),
                _ => SchemaAt::Nothing(Vec::new()),
            };
            if !found.is_declared() {
                self.bad(
                    &format!("compensate/input/{field}"),
                    format!("`{pointer}` is neither in /input nor in /output of this operation"),
                );
            }
        }
    }

    fn binding(&mut self) {
        match &self.spec.binding {
            Binding::Http { url, method } => {
                self.target("binding/url", url);
                if method
                    .as_deref()
                    .is_some_and(|method| !matches!(method, "POST" | "PUT" | "PATCH" | "DELETE"))
                {
                    self.bad("binding/method", "POST, PUT, PATCH or DELETE");
                }
            }
            Binding::Mcp { url, .. } => self.target("binding/url", url),
            Binding::Sqs { queue_url } => self.target("binding/queueUrl", queue_url),
            Binding::Lambda { function_arn } => {
                if !is_function_arn(function_arn) {
                    self.bad("binding/functionArn", "the ARN of a Lambda function");
                }
            }
        }
    }

    fn target(&mut self, pointer: &str, url: &str) {
        if let Some(why) = target::problem(url, true) {
            self.bad(pointer, why);
        }
    }
}

// `arn:aws:lambda:<region>:<account>:function:<name>`, perhaps with a version or alias.
fn is_function_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_$".contains(&b))
    };
    matches!(parts.as_slice(), ["arn", partition, "lambda", _, account, "function", rest @ ..]
        if partition.starts_with("aws")
            && account.bytes().all(|b| b.is_ascii_digit())
            && matches!(rest.len(), 1 | 2))
        && parts.iter().all(word)
}
