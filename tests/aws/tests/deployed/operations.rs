//! Controls that work when they are exercised: machines that are stopped, alarms, dead letters,
//! stages.

use aws_sdk_sqs::types::QueueAttributeName;
use countersign_aws_tests::{STACK, Stack};
use countersign_it::TestServer;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::sleep;

pub async fn one_stage(stack: Arc<Stack>) {
    let stages =
        stack.cloud.aws(&["apigateway", "get-stages", "--rest-api-id", stack.output("ApiId")]);
    let names: Vec<&str> = stages["item"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stageName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dev"], "SAM's second stage is public too");
}

/// Whether a machine is in one of the states; it has ended otherwise.
fn is_in(stack: &Stack, arn: &str, state: &str) -> bool {
    let history = stack.cloud.aws(&[
        "stepfunctions",
        "get-execution-history",
        "--execution-arn",
        arn,
        "--reverse-order",
    ]);
    let events = history["events"].as_array().unwrap();
    let entered =
        events.iter().find(|event| event["type"].as_str().unwrap().ends_with("StateEntered"));
    entered.is_some_and(|event| event["stateEnteredEventDetails"]["name"] == state)
}

/// An execution once it has a status, after a sweep or two: each minute one, which leaves alone for
/// a minute what somebody may be about to do.
async fn swept(server: &TestServer, id: &str, wanted: &str) {
    for _ in 0..12 {
        let (_, answer) = server.agent.get(&format!("/v1/executions/{id}?waitSeconds=25")).await;
        if answer["execution"]["status"] == wanted {
            return;
        }
        sleep(Duration::from_secs(20)).await;
    }
    panic!("{id} never became {wanted}");
}

// A machine ends from outside, at each state that lasts; the approval comes after that. By the dead
// token the next machine is started at once, or by the sweep: LocalStack hears the token of a
// machine that was stopped. Where there is no token yet, by the approval or by the sweep.
pub async fn stopped(stack: Arc<Stack>) {
    let server = TestServer::on(stack.clone(), "stopped").await;
    let payout = || {
        json!([{ "id": "p", "use": "payments/payout.create",
            "with": { "account": "DE02", "amount": 5, "currency": "EUR" } }])
    };
    let stop = |id: &str| {
        let arn = machine(&stack, id);
        stack.cloud.aws(&["stepfunctions", "stop-execution", "--execution-arn", &arn]);
    };
    // While it waits for people.
    let waits = server.submit(payout()).await;
    server.until(&waits, "blocked").await;
    for _ in 0..100 {
        if is_in(&stack, &machine(&stack, &waits), "AwaitSignal") {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(2)).await;
    stop(&waits);
    // Before it got anywhere, and on its way.
    let early = server.submit(payout()).await;
    stop(&early);
    let midway = server.submit(payout()).await;
    sleep(Duration::from_millis(150)).await;
    stop(&midway);
    server.approve(&waits).await;
    swept(&server, &waits, "completed").await;
    for id in [&early, &midway] {
        swept(&server, id, "blocked").await;
        server.approve(id).await;
        swept(&server, id, "completed").await;
        server.proven(id).await;
    }
}

fn machine(stack: &Stack, id: &str) -> String {
    stack.output("StateMachineArn").replace(":stateMachine:", ":execution:") + &format!(":{id}-0")
}

/// A queue of the test's own, subscribed to the topic of alarms.
async fn listener(stack: &Stack) -> String {
    // By the SDK: this command line goes to a legacy address of SQS, whatever endpoint it is told.
    let client = stack.clients().sqs();
    let made = client.create_queue().queue_name("alarms-of-the-test").send().await.unwrap();
    let url = made.queue_url.unwrap();
    let asked =
        client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
    let arn = asked
        .send()
        .await
        .unwrap()
        .attributes
        .unwrap()
        .remove(&QueueAttributeName::QueueArn)
        .unwrap();
    let topic = stack.output("AlarmTopicArn");
    stack.cloud.aws(&[
        "sns",
        "subscribe",
        "--topic-arn",
        topic,
        "--protocol",
        "sqs",
        "--notification-endpoint",
        &arn,
    ]);
    url
}

async fn told(stack: &Stack, url: &str, wanted: usize, seconds: u64) -> BTreeSet<String> {
    let client = stack.clients().sqs();
    let mut names = BTreeSet::new();
    for _ in 0..seconds {
        if names.len() >= wanted {
            break;
        }
        let got = client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .wait_time_seconds(1)
            .send()
            .await;
        for message in got.unwrap().messages.unwrap_or_default() {
            let envelope: Value = serde_json::from_str(message.body().unwrap()).unwrap();
            let alarm: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
            names.insert(alarm["AlarmName"].as_str().unwrap().to_owned());
            let handle = message.receipt_handle().unwrap();
            client.delete_message().queue_url(url).receipt_handle(handle).send().await.unwrap();
        }
    }
    names
}

// Each alarm's cause is raised on a copy that looks every ten seconds: its own metric, with a value
// beyond its threshold, or nothing at all where silence is the cause. Then each alarm itself
// changes its state.
pub async fn alarms(stack: Arc<Stack>) {
    let url = listener(&stack).await;
    let found = stack.cloud.aws(&["cloudwatch", "describe-alarms", "--alarm-name-prefix", STACK]);
    let alarms = found["MetricAlarms"].as_array().unwrap().clone();
    assert!(alarms.len() >= 12, "{found}");
    let mut copies = BTreeSet::new();
    for alarm in &alarms {
        let text = |key: &str| alarm[key].as_str().unwrap().to_owned();
        let name = format!("copy-{}", text("AlarmName"));
        let mut copy = alarm.clone();
        let wanted = [
            "AlarmActions",
            "MetricName",
            "Namespace",
            "Statistic",
            "Dimensions",
            "Threshold",
            "ComparisonOperator",
            "TreatMissingData",
        ];
        copy.as_object_mut().unwrap().retain(|key, _| wanted.contains(&key.as_str()));
        (copy["AlarmName"], copy["Period"], copy["EvaluationPeriods"]) =
            (json!(name), json!(10), json!(1));
        stack.cloud.aws(&["cloudwatch", "put-metric-alarm", "--cli-input-json", &copy.to_string()]);
        if alarm["ComparisonOperator"] == "GreaterThanThreshold" {
            let data = json!([{ "MetricName": text("MetricName"), "Dimensions": alarm["Dimensions"],
                "Value": alarm["Threshold"].as_f64().unwrap() + 1.0 }]);
            let (namespace, data) = (text("Namespace"), data.to_string());
            let put = [
                "cloudwatch",
                "put-metric-data",
                "--namespace",
                &namespace,
                "--metric-data",
                &data,
            ];
            stack.cloud.aws(&put);
        }
        copies.insert(name);
    }
    let names = told(&stack, &url, copies.len(), 90).await;
    let missing: Vec<&String> = copies.difference(&names).collect();
    assert!(missing.is_empty(), "the cause was there and nobody was told: {missing:?}");
    for name in &copies {
        stack.cloud.aws(&["cloudwatch", "delete-alarms", "--alarm-names", name]);
    }
    let own: BTreeSet<String> =
        alarms.iter().map(|alarm| alarm["AlarmName"].as_str().unwrap().to_owned()).collect();
    for name in &own {
        for state in ["OK", "ALARM"] {
            let set =
                ["cloudwatch", "set-alarm-state", "--alarm-name", name, "--state-value", state];
            stack.cloud.aws(&[&set[..], &["--state-reason", "a test"]].concat());
        }
    }
    let names = told(&stack, &url, own.len() + copies.len(), 30).await;
    assert!(own.is_subset(&names), "{:?}", own.difference(&names).collect::<Vec<_>>());
}

// A sweep that fails, for its table is gone, is told after its retry.
pub async fn dead_letters(stack: Arc<Stack>) {
    let name = format!("{STACK}-sweep");
    let own = stack.cloud.aws(&["lambda", "get-function-configuration", "--function-name", &name]);
    let variables = own["Environment"]["Variables"].clone();
    let set = |variables: &Value| {
        let environment = json!({ "Variables": variables }).to_string();
        let update = ["lambda", "update-function-configuration", "--function-name", &name];
        stack.cloud.aws(&[&update[..], &["--environment", &environment]].concat());
        stack.end("sweep");
    };
    let mut broken = variables.clone();
    broken["TABLE_NAME"] = json!("no-such-table");
    set(&broken);
    let out = stack.cloud.folder().join("sweep.json");
    let call = ["lambda", "invoke", "--function-name", &name, "--invocation-type", "Event"];
    stack
        .cloud
        .aws(&[&call[..], &["--payload", "{\"test\":\"broken\"}", out.to_str().unwrap()]].concat());
    let client = stack.clients().sqs();
    let mut heard = false;
    for _ in 0..240 {
        let url = stack.output("ScheduleDlqUrl");
        let got =
            client.receive_message().queue_url(url).wait_time_seconds(1).send().await.unwrap();
        heard |= got.messages.is_some_and(|messages| !messages.is_empty());
        if heard {
            break;
        }
    }
    set(&variables);
    assert!(heard, "a run that failed reaches the queue");
}
