//! DynamoDB inside this process, behind the real SDK: dynoxide under a connector that can fail as a
//! network and a service do.

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use countersign_store::{Clock, Ids, Item, Key, PortError, Query, Table, TransactionError, Write};
use dynoxide::{Database, errors::DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The table's name.
pub const TABLE: &str = "countersign";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    Throttled,
    /// Another transaction is at the same items.
    Conflict,
    /// It never arrives.
    LostBefore,
    /// It is done, and the answer does not come back.
    LostAfter,
    /// It is done, and the answer is a 500.
    FailedAfter,
    Failed,
    ExpiredCredentials,
}

/// Says what trouble the next request is in, by the operation's name.
pub type FaultPlan = Arc<dyn Fn(&str) -> Option<InjectedFault> + Send + Sync>;

/// A table in this process.
pub struct Dynamo {
    database: Database,
    table: aws::DynamoTable,
    fails: bool,
    /// Operations that arrived.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Dynamo {
    /// A table without trouble.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self::with(clock, ids, None, |aws| aws)
    }

    /// A table with troubles. `change` may replace what the SDK sleeps and tells the time with.
    pub fn with(
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        troubles: Option<FaultPlan>,
        change: impl FnOnce(aws::Aws) -> aws::Aws,
    ) -> Self {
        let database = Database::memory().unwrap();
        let create = json!({ "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" },
                { "AttributeName": "sk", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" },
                { "AttributeName": "sk", "KeyType": "RANGE" }] });
        database.create_table(serde_json::from_value(create).unwrap()).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let fails = troubles.is_some();
        let connector = SharedHttpConnector::new(Connector {
            database: database.clone(),
            troubles,
            requests: requests.clone(),
        });
        let http = http_client_fn(move |_, _| connector.clone());
        let region = aws_types::region::Region::new("eu-central-1");
        let credentials = Credentials::new("test", "test", None, None, "test");
        let aws =
            change(aws::Aws::new(region, credentials, Some("http://dynamo".into()), Some(http)));
        let table = aws::DynamoTable::new(aws.dynamodb(), TABLE.into(), clock, ids);
        Self { database, table, fails, requests }
    }

    /// Counts capacity.
    pub fn counting(mut self, units: Arc<aws::Units>) -> Self {
        self.table = self.table.counting(units);
        self
    }
}

#[async_trait]
impl Table for Dynamo {
    async fn get(&self, key: &Key) -> Result<Option<Item>, PortError> {
        self.table.get(key).await
    }
    async fn query(&self, query: &Query) -> Result<Vec<(Key, Item)>, PortError> {
        self.table.query(query).await
    }
    async fn transact(&self, writes: Vec<Write>) -> Result<(), TransactionError> {
        self.table.transact(writes).await
    }
}

impl countersign_sim::Store for Dynamo {
    fn dump(&self) -> BTreeMap<Key, Item> {
        let mut items = BTreeMap::new();
        let mut from = Value::Null;
        loop {
            let mut request = json!({ "TableName": TABLE });
            if !from.is_null() {
                request["ExclusiveStartKey"] = from;
            }
            let page = self.database.scan(serde_json::from_value(request).unwrap()).unwrap();
            let page = serde_json::to_value(page).unwrap();
            items.extend(page["Items"].as_array().unwrap().iter().map(stored));
            from = page["LastEvaluatedKey"].clone();
            if from.is_null() {
                return items;
            }
        }
    }
    fn fails(&self) -> bool {
        self.fails
    }
}

fn stored(attributes: &Value) -> (Key, Item) {
    let text = |name: &str| attributes[name]["S"].as_str().unwrap().to_owned();
    let number = |value: &Value| value["N"].as_str().map(|number| number.parse::<i64>().unwrap());
    let fields = attributes.as_object().unwrap().iter();
    let item = Item {
        version: number(&attributes["v"]).unwrap() as u64,
        fields: fields
            .filter_map(|(name, value)| Some((name.strip_prefix("f_")?.to_owned(), number(value)?)))
            .collect(),
        body: B64.decode(attributes["b"]["B"].as_str().unwrap()).unwrap(),
        expires_at: number(&attributes["ttl"]),
    };
    (Key { partition: text("pk"), sort: text("sk") }, item)
}

struct Connector {
    database: Database,
    troubles: Option<FaultPlan>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        self.requests.lock().unwrap().push(operation.to_owned());
        let trouble = self.troubles.as_ref().and_then(|troubles| troubles(operation));
        let refused = |status: u16, kind: &str| {
            let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"),
                "message": "simulated" });
            Ok(response(status, body.to_string()))
        };
        let io = || Err(ConnectorError::io("simulated: the connection broke".into()));
        let answer = match trouble {
            None => Ok(self.execute(operation, body)),
            Some(InjectedFault::Throttled) => refused(400, "ThrottlingException"),
            Some(InjectedFault::Failed) => refused(500, "InternalServerError"),
            Some(InjectedFault::ExpiredCredentials) => refused(400, "ExpiredTokenException"),
            Some(InjectedFault::LostBefore) => io(),
            Some(InjectedFault::LostAfter) => {
                self.execute(operation, body);
                Err(ConnectorError::timeout("simulated: no answer in time".into()))
            }
            Some(InjectedFault::FailedAfter) => {
                self.execute(operation, body);
                refused(500, "InternalServerError")
            }
            Some(InjectedFault::Conflict) if operation == "TransactWriteItems" => {
                let request: Value = serde_json::from_slice(body).unwrap();
                let count = request["TransactItems"].as_array().map_or(1, Vec::len);
                let mut reasons = vec![json!({ "Code": "None" }); count];
                reasons[count - 1] =
                    json!({ "Code": "TransactionConflict", "Message": "simulated" });
                let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
                let body = json!({ "__type": kind,
                    "Message": "simulated", "CancellationReasons": reasons });
                Ok(response(400, body.to_string()))
            }
            Some(InjectedFault::Conflict) => Ok(self.execute(operation, body)),
        };
        HttpConnectorFuture::ready(answer)
    }
}

impl Connector {
    fn execute(&self, operation: &str, body: &[u8]) -> HttpResponse {
        let database = &self.database;
        let answer = match operation {
            "GetItem" => answered(body, |request| database.get_item(request)),
            "Query" => answered(body, |request| database.query(request)),
            "PutItem" => answered(body, |request| database.put_item(request)),
            "DeleteItem" => answered(body, |request| database.delete_item(request)),
            "TransactWriteItems" => {
                answered(body, |request| database.transact_write_items(request))
            }
            other => panic!("the adapter asks for {other}"),
        };
        match answer {
            Ok(body) => response(200, body),
            Err(error) => response(error.status_code(), error.to_json()),
        }
    }
}

fn answered<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    run: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body)
        .map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    run(request).map(|answer| serde_json::to_string(&answer).unwrap())
}

fn response(status: u16, body: String) -> HttpResponse {
    let mut response =
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}
