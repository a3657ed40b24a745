//! The table on DynamoDB: one table, strongly consistent reads, `TransactWriteItems`.
//!
//! An item: `pk`, `sk` (strings), `v` (version), `b` (body), `f_<name>` (a number that conditions
//! look at), `ttl`. A single write goes as `PutItem` or `DeleteItem`, which costs half of a
//! transaction.
//!
//! What may have happened is not guessed at. A try whose answer is lost is repeated with the same
//! request token, which DynamoDB honours for ten minutes; the tries of one call end long before
//! that. Beyond, the engine looks again.

mod budget;

pub use budget::Budget;

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    primitives::Blob,
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, Put, ReturnConsumedCapacity,
        TransactWriteItem,
    },
};
use countersign_store::{
    Clock, Condition, Ids, Item, Key, PortError, Query, Table, TransactionError, Write, check_form,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Tries of one transaction that others conflict with, or that is throttled.
const TRIES_MAX: u32 = 10;
/// First wait between them, and the longest, before jitter, in milliseconds.
const BACKOFF_MS: u64 = 15;
const BACKOFF_MS_MAX: u64 = 1_000;
/// Items asked for at once.
const PAGE_MAX: usize = 1_000;

type Attributes = HashMap<String, AttributeValue>;

/// Capacity that was used.
#[derive(Debug, Default)]
pub struct Units {
    /// Write units, in tenths.
    pub write: AtomicU64,
    /// Read units, in tenths.
    pub read: AtomicU64,
}

/// A table on DynamoDB.
pub struct DynamoTable {
    client: Client,
    name: String,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    budget: Budget,
    units: Option<Arc<Units>>,
}

impl DynamoTable {
    /// A table by its name.
    pub fn new(client: Client, name: String, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { client, name, clock, ids, budget: Budget::default(), units: None }
    }

    /// Counts the capacity that is used, which asks DynamoDB to report it.
    pub fn counting(mut self, units: Arc<Units>) -> Self {
        self.units = Some(units);
        self
    }

    fn report(&self) -> Option<ReturnConsumedCapacity> {
        self.units.as_ref().map(|_| ReturnConsumedCapacity::Total)
    }

    fn count_read(&self, units: Option<f64>) {
        if let Some(counter) = &self.units {
            counter.read.fetch_add((units.unwrap_or(0.0) * 10.0) as u64, Ordering::Relaxed);
        }
    }
    fn count_write(&self, units: Option<f64>) {
        if let Some(counter) = &self.units {
            counter.write.fetch_add((units.unwrap_or(0.0) * 10.0) as u64, Ordering::Relaxed);
        }
    }

    // One write without a condition: the same however often it is done.
    async fn single(&self, write: &Write) -> Result<(), Tried> {
        let units = match write {
            Write::Put { key, item, .. } => {
                let request =
                    self.client.put_item().table_name(&self.name).set_item(Some(encode(key, item)));
                let out = request.set_return_consumed_capacity(self.report()).send().await;
                out.map_err(|error| Tried::Port(fault(&error)))?.consumed_capacity
            }
            Write::Delete { key, .. } => {
                let request =
                    self.client.delete_item().table_name(&self.name).set_key(Some(place(key)));
                let out = request.set_return_consumed_capacity(self.report()).send().await;
                out.map_err(|error| Tried::Port(fault(&error)))?.consumed_capacity
            }
            Write::Check { .. } => return Ok(()),
        };
        self.count_write(units.and_then(|used| used.capacity_units));
        Ok(())
    }

    async fn many(&self, writes: &[Write]) -> Result<(), Tried> {
        let items =
            writes.iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>()?;
        // One token for every try of this request, the SDK's own among them.
        let token: String = self.ids.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut tried = 0;
        loop {
            let request =
                self.client.transact_write_items().set_transact_items(Some(items.clone()));
            let request =
                request.client_request_token(&token).set_return_consumed_capacity(self.report());
            let failed = match request.send().await {
                Ok(out) => {
                    let used = out.consumed_capacity.unwrap_or_default();
                    self.count_write(Some(
                        used.iter().filter_map(|used| used.capacity_units).sum(),
                    ));
                    return Ok(());
                }
                Err(error) => transaction_failed(error),
            };
            tried += 1;
            match failed {
                Tried::Conflict(_) if tried < TRIES_MAX && self.budget.take() => {
                    tracing::info!(target: "metric", Conflicts = 1, "again");
                    self.wait(tried).await;
                }
                other => return Err(other),
            }
        }
    }

    fn transact_item(&self, write: &Write) -> Result<TransactWriteItem, Tried> {
        let test = Test::of(write.condition());
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| {
            Tried::Port(PortError::Corrupt(error.to_string()))
        };
        let item = TransactWriteItem::builder();
        Ok(match write {
            Write::Put { key, item: new, .. } => {
                let put = Put::builder().table_name(&self.name).set_item(Some(encode(key, new)));
                let put = put
                    .set_condition_expression(test.expression)
                    .set_expression_attribute_names(test.names);
                item.put(
                    put.set_expression_attribute_values(test.values).build().map_err(incomplete)?,
                )
            }
            Write::Delete { key, .. } => {
                let delete = Delete::builder().table_name(&self.name).set_key(Some(place(key)));
                let delete = delete
                    .set_condition_expression(test.expression)
                    .set_expression_attribute_names(test.names);
                item.delete(
                    delete
                        .set_expression_attribute_values(test.values)
                        .build()
                        .map_err(incomplete)?,
                )
            }
            Write::Check { key, .. } => {
                // `Any` is no condition to DynamoDB; what always holds is.
                let expression = test
                    .expression
                    .unwrap_or_else(|| "attribute_exists(pk) OR attribute_not_exists(pk)".into());
                let check =
                    ConditionCheck::builder().table_name(&self.name).set_key(Some(place(key)));
                let check = check
                    .condition_expression(expression)
                    .set_expression_attribute_names(test.names);
                item.condition_check(
                    check
                        .set_expression_attribute_values(test.values)
                        .build()
                        .map_err(incomplete)?,
                )
            }
        }
        .build())
    }

    // Exponential, with full jitter.
    async fn wait(&self, tried: u32) {
        let most = (BACKOFF_MS << tried.min(10)).min(BACKOFF_MS_MAX);
        let [.., a, b] = self.ids.secret();
        let jitter = u64::from(u16::from_le_bytes([a, b])) * most / u64::from(u16::MAX);
        self.clock.sleep(jitter.max(1)).await;
    }
}

/// Why a try failed.
#[derive(Debug)]
enum Tried {
    /// The condition of this write does not hold.
    Condition(usize),
    /// Nothing was written, because others were at it, or too many; trying again may help.
    Conflict(String),
    Port(PortError),
}

impl From<Tried> for TransactionError {
    fn from(tried: Tried) -> Self {
        match tried {
            Tried::Condition(index) => Self::Condition(index),
            Tried::Conflict(why) => Self::Port(PortError::Unavailable(why)),
            Tried::Port(fault) => Self::Port(fault),
        }
    }
}

#[async_trait]
impl Table for DynamoTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(place(key)))
            .consistent_read(true);
        let out = request
            .set_return_consumed_capacity(self.report())
            .send()
            .await
            .map_err(|error| fault(&error))?;
        self.count_read(out.consumed_capacity.and_then(|used| used.capacity_units));
        self.budget.give();
        out.item.map(|attributes| decode(attributes).map(|(_, item)| item)).transpose()
    }

    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        let mut found = Vec::new();
        if query.from >= query.to || query.limit == 0 {
            return Ok(found);
        }
        let mut start: Option<Attributes> = None;
        loop {
            // `BETWEEN` includes its end, which is not wanted: one more is asked for than is
            // needed.
            let page = (query.limit - found.len()).saturating_add(1).min(PAGE_MAX);
            let request = self.client.query().table_name(&self.name).consistent_read(true);
            let request = request.key_condition_expression("pk = :p AND sk BETWEEN :from AND :to");
            let text = |value: &str| AttributeValue::S(value.to_owned());
            let request = request.expression_attribute_values(":p", text(&query.partition));
            // An empty string is no key; the smallest key is.
            let from = if query.from.is_empty() { " " } else { &query.from };
            let request = request
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":to", text(&query.to));
            let request = request
                .scan_index_forward(!query.reverse)
                .limit(i32::try_from(page).unwrap_or(i32::MAX));
            let request = request
                .set_exclusive_start_key(start.take())
                .set_return_consumed_capacity(self.report());
            let out = request.send().await.map_err(|error| fault(&error))?;
            self.count_read(out.consumed_capacity.and_then(|used| used.capacity_units));
            for attributes in out.items.unwrap_or_default() {
                let (key, item) = decode(attributes)?;
                if key.sort != query.to && found.len() < query.limit {
                    found.push((key, item));
                }
            }
            start = out.last_evaluated_key;
            if start.is_none() || found.len() >= query.limit {
                self.budget.give();
                return Ok(found);
            }
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        check_form(&writes)?;
        let outcome = match writes.as_slice() {
            [write] if *write.condition() == Condition::Any => self.single(write).await,
            writes => self.many(writes).await,
        };
        if outcome.is_ok() {
            self.budget.give();
        }
        Ok(outcome?)
    }
}

/// A condition in DynamoDB's words.
#[derive(Default)]
struct Test {
    expression: Option<String>,
    names: Option<HashMap<String, String>>,
    values: Option<HashMap<String, AttributeValue>>,
}

impl Test {
    fn of(condition: &Condition) -> Self {
        let plain = |text: &str| Self { expression: Some(text.to_owned()), ..Self::default() };
        let number =
            |number: String| Some(HashMap::from([(":n".to_owned(), AttributeValue::N(number))]));
        match condition {
            Condition::Any => Self::default(),
            Condition::NotExists => plain("attribute_not_exists(pk)"),
            Condition::Exists => plain("attribute_exists(pk)"),
            Condition::VersionIs(version) => {
                Self { values: number(version.to_string()), ..plain("v = :n") }
            }
            Condition::FieldAtMost(field, limit) => {
                // An absent field is 0.
                let absent = if *limit >= 0 { "attribute_not_exists(#f) OR " } else { "" };
                Self {
                    names: Some(HashMap::from([("#f".to_owned(), format!("f_{field}"))])),
                    values: number(limit.to_string()),
                    ..plain(&format!("attribute_exists(pk) AND ({absent}#f <= :n)"))
                }
            }
        }
    }
}

fn place(key: &Key) -> Attributes {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    HashMap::from([("pk".to_owned(), text(&key.partition)), ("sk".to_owned(), text(&key.sort))])
}

fn encode(key: &Key, item: &Item) -> Attributes {
    let mut attributes = place(key);
    attributes.insert("v".into(), AttributeValue::N(item.version.to_string()));
    attributes.insert("b".into(), AttributeValue::B(Blob::new(item.body.clone())));
    for (name, number) in &item.fields {
        attributes.insert(format!("f_{name}"), AttributeValue::N(number.to_string()));
    }
    if let Some(at) = item.expires_at {
        attributes.insert("ttl".into(), AttributeValue::N(at.to_string()));
    }
    attributes
}

fn decode(mut attributes: Attributes) -> Result<(Key, Item), PortError> {
    let wrong = |name: &str| PortError::Corrupt(format!("a stored item has no usable `{name}`"));
    let mut text = |name: &str| match attributes.remove(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(wrong(name)),
    };
    let key = Key { partition: text("pk")?, sort: text("sk")? };
    let mut item = Item::default();
    let (mut version, mut body) = (None, None);
    for (name, value) in attributes {
        match (name.as_str(), value) {
            ("v", AttributeValue::N(number)) => version = number.parse().ok(),
            ("b", AttributeValue::B(bytes)) => body = Some(bytes.into_inner()),
            ("ttl", AttributeValue::N(number)) => item.expires_at = number.parse().ok(),
            (name, AttributeValue::N(number)) => {
                if let Some(field) = name.strip_prefix("f_") {
                    item.fields.insert(field.to_owned(), number.parse().map_err(|_| wrong(name))?);
                }
            }
            _ => {}
        }
    }
    item.version = version.ok_or_else(|| wrong("v"))?;
    item.body = body.ok_or_else(|| wrong("b"))?;
    Ok((key, item))
}

// What is for the log: the code and the message, without the request.
fn fault<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: &SdkError<E, R>,
) -> PortError {
    let code = error.code().unwrap_or(match error {
        SdkError::ConstructionFailure(_) => "not sent",
        SdkError::TimeoutError(_) => "timed out",
        SdkError::DispatchFailure(_) => "no connection",
        SdkError::ResponseError(_) => "no readable answer",
        _ => "failed",
    });
    PortError::Unavailable(format!("{code}: {}", error.message().unwrap_or_default()))
}

fn transaction_failed<R: std::fmt::Debug>(error: SdkError<TransactWriteItemsError, R>) -> Tried {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled_for(cancelled.cancellation_reasons())
        }
        // A try of ours is still being applied; asked again with its token, it says what became of
        // it.
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
            Tried::Conflict("still in progress".into())
        }
        _ => Tried::Port(fault(&error)),
    }
}

/// What a cancelled transaction means, by its reasons, one for each write.
fn cancelled_for(reasons: &[CancellationReason]) -> Tried {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    // A condition that does not hold decides, whatever else went wrong.
    if let Some(index) = reasons.iter().position(|reason| code(reason) == "ConditionalCheckFailed")
    {
        return Tried::Condition(index);
    }
    let Some(reason) = reasons.iter().find(|reason| code(reason) != "None") else {
        return Tried::Port(PortError::Unavailable("cancelled without a reason".into()));
    };
    let why = format!("{}: {}", code(reason), reason.message().unwrap_or_default());
    let passing = |reason: &CancellationReason| {
        matches!(
            code(reason).as_str(),
            "None"
                | "TransactionConflict"
                | "ProvisionedThroughputExceeded"
                | "ThrottlingError"
                | "RequestLimitExceeded"
        )
    };
    match reasons.iter().find(|reason| !passing(reason)) {
        None => Tried::Conflict(why),
        // An item or a collection that is too large, or not valid, will be so the next time.
        Some(reason) => Tried::Port(PortError::Corrupt(format!(
            "{}: {}",
            code(reason),
            reason.message().unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes
            .iter()
            .map(|code| CancellationReason::builder().code(*code).message("m").build())
            .collect()
    }

    #[test]
    fn every_cancellation_reason_has_its_meaning() {
        let condition =
            |codes: &[&str]| matches!(cancelled_for(&reasons(codes)), Tried::Condition(1));
        assert!(condition(&["None", "ConditionalCheckFailed"]));
        assert!(
            condition(&["TransactionConflict", "ConditionalCheckFailed"]),
            "a condition decides"
        );
        for passing in [
            "TransactionConflict",
            "ProvisionedThroughputExceeded",
            "ThrottlingError",
            "RequestLimitExceeded",
        ] {
            assert!(
                matches!(cancelled_for(&reasons(&["None", passing])), Tried::Conflict(_)),
                "{passing}"
            );
        }
        for lasting in ["ItemCollectionSizeLimitExceeded", "ValidationError", "SomethingNew"] {
            let found = cancelled_for(&reasons(&["TransactionConflict", lasting]));
            assert!(matches!(found, Tried::Port(PortError::Corrupt(_))), "{lasting}: {found:?}");
        }
        assert!(matches!(cancelled_for(&[]), Tried::Port(PortError::Unavailable(_))));
    }
}
