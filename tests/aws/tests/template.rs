//! The template against the contract and against least privilege, without deploying it.

use contracts::endpoint::{self, Auth};
use countersign_aws_tests::{functions, lint, template};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Actions that IAM's reference gives no resource to name.
const WITHOUT_ARN: &[&str] = &["logs:", "xray:"];

fn resources(template: &Value) -> &serde_json::Map<String, Value> {
    template["Resources"].as_object().unwrap()
}

fn of_type<'t>(template: &'t Value, kind: &str) -> Vec<(&'t String, &'t Value)> {
    resources(template).iter().filter(|(_, resource)| resource["Type"] == kind).collect()
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

#[test]
fn it_is_what_sam_and_cloudformation_accept() {
    lint();
}

#[test]
fn every_operation_has_its_route_at_its_function() {
    let template = template();
    let mut routes = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        for event in function["Properties"]["Events"]
            .as_object()
            .into_iter()
            .flat_map(|events| events.values())
        {
            if event["Type"] == "Api" {
                let text = |key: &str| event["Properties"][key].as_str().unwrap().to_owned();
                let route = (
                    text("Method"),
                    text("Path"),
                    name.trim_end_matches("Function").to_lowercase(),
                );
                if event["Properties"]["Auth"]["Authorizer"] == "NONE" {
                    open.insert(route.1.clone());
                }
                routes.insert(route);
            }
        }
    }
    let owned = |endpoint: &endpoint::Endpoint| {
        (
            endpoint.method.as_str().to_owned(),
            endpoint.path.to_owned(),
            endpoint.function.to_owned(),
        )
    };
    assert_eq!(routes, endpoint::all().map(owned).collect());
    let unguarded = endpoint::all().filter(|endpoint| endpoint.auth != Auth::ApiKey);
    assert_eq!(open, unguarded.map(|endpoint| endpoint.path.to_owned()).collect());
    assert_eq!(template["Resources"]["Api"]["Properties"]["Auth"]["DefaultAuthorizer"], "Keys");
}

#[test]
fn every_function_has_its_own_role_and_no_role_a_wildcard_that_an_arn_could_replace() {
    let template = template();
    let mut roles = BTreeSet::new();
    let names: BTreeSet<String> = of_type(&template, "AWS::Serverless::Function")
        .into_iter()
        .map(|(name, function)| {
            let role = &function["Properties"]["Role"]["Fn::GetAtt"];
            assert!(roles.insert(role.to_string()), "{name} shares its role");
            name.trim_end_matches("Function").to_lowercase()
        })
        .collect();
    assert_eq!(names, functions().into_iter().collect::<BTreeSet<_>>(), "a package, a function");
    for (name, role) in of_type(&template, "AWS::IAM::Role") {
        assert!(
            role["Properties"]["ManagedPolicyArns"].is_null(),
            "{name}: a managed policy is nobody's least"
        );
        let statements = role["Properties"]["Policies"].as_array().unwrap().iter();
        for statement in
            statements.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap())
        {
            let actions: Vec<&str> = list(&statement["Action"])
                .into_iter()
                .map(|action| action.as_str().unwrap())
                .collect();
            assert_eq!(statement["Effect"], "Allow");
            assert!(actions.iter().all(|action| !action.contains('*')), "{name}: {actions:?}");
            let everything =
                list(&statement["Resource"]).into_iter().any(|resource| resource == "*");
            let nameless =
                |action: &&str| WITHOUT_ARN.iter().any(|service| action.starts_with(service));
            assert!(
                !everything || actions.iter().all(nameless),
                "{name}: {actions:?} on everything"
            );
            if actions.iter().any(|action| {
                action.starts_with("dynamodb:")
                    && !action.contains("Stream")
                    && !action.contains("Record")
                    && !action.contains("Shard")
            }) {
                let keys =
                    &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
                assert!(keys.is_array(), "{name}: {actions:?} on keys that are not its own");
            }
        }
    }
}

#[test]
fn it_has_what_a_stage_needs() {
    let template = template();
    let table = &template["Resources"]["Table"]["Properties"];
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["SSESpecification"]["SSEEnabled"], true);
    assert!(
        table["DeletionProtectionEnabled"].is_object() && table["StreamSpecification"].is_object()
    );
    assert_eq!(table["TimeToLiveSpecification"]["AttributeName"], "ttl");
    for (name, queue) in of_type(&template, "AWS::SQS::Queue") {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"], true, "{name}");
        let watched = name.ends_with("Dlq").then(|| format!("{name}Alarm"));
        assert!(
            watched.is_none_or(|alarm| resources(&template).contains_key(&alarm)),
            "{name} has no alarm"
        );
    }
    let bucket = &template["Resources"]["ExportBucket"]["Properties"];
    assert_eq!(bucket["VersioningConfiguration"]["Status"], "Enabled");
    assert_eq!(bucket["ObjectLockEnabled"], true);
    let machine = &template["Resources"]["StateMachine"]["Properties"];
    assert_eq!(machine["DefinitionUri"], "execution.asl.json");
    assert_eq!(machine["Tracing"]["Enabled"], true);
    let alarms = [
        "StuckExecutionsAlarm",
        "BrokenTracesAlarm",
        "OutboxAgeAlarm",
        "ErrorRateAlarm",
        "ApprovalAgeAlarm",
        "StageDlqAlarm",
    ];
    for name in alarms.iter().chain(&["Dashboard"]) {
        assert!(resources(&template).contains_key(*name), "{name}");
    }
    for name in ["SweepHeartbeatAlarm", "RelayHeartbeatAlarm", "ExportHeartbeatAlarm"] {
        let alarm = &template["Resources"][name]["Properties"];
        assert_eq!(alarm["TreatMissingData"], "breaching", "{name}: silence is no sign of life");
    }
    assert_eq!(
        template["Resources"]["MachinesFailedAlarm"]["Properties"]["MetricName"],
        "ExecutionsFailed"
    );
    for (name, alarm) in of_type(&template, "AWS::CloudWatch::Alarm") {
        assert!(alarm["Properties"]["AlarmActions"].is_array(), "{name} tells nobody");
    }
    let schedules = ["Export", "Sweep"].map(|name| {
        template["Resources"][format!("{name}Function")]["Properties"]["Events"].to_string()
    });
    assert!(
        schedules
            .iter()
            .all(|events| events.contains("\"Schedule\"") && events.contains("DeadLetterConfig"))
    );
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        for (kind, event) in function["Properties"]["Events"].as_object().into_iter().flatten() {
            if event["Type"] == "SQS" || event["Type"] == "DynamoDB" {
                let types = &event["Properties"]["FunctionResponseTypes"];
                assert_eq!(types[0], "ReportBatchItemFailures", "{name} {kind}");
            }
        }
    }
}

// The key that AWS manages for SNS refuses CloudWatch, whatever the topic's policy says.
#[test]
fn alarms_may_be_published_to_their_topic() {
    let template = template();
    let topic = &template["Resources"]["AlarmTopic"]["Properties"];
    let key = topic["KmsMasterKeyId"]["Fn::GetAtt"].as_str().map(str::to_owned);
    let key = key
        .or_else(|| Some(topic["KmsMasterKeyId"]["Fn::GetAtt"][0].as_str()?.to_owned()))
        .unwrap();
    let key = &template["Resources"][key.split('.').next().unwrap()];
    assert_eq!(key["Type"], "AWS::KMS::Key", "a key of our own, whose policy we write");
    let allows = |policy: &Value, action: &str| {
        policy["Statement"].as_array().unwrap().iter().any(|statement| {
            statement["Effect"] == "Allow"
                && statement["Principal"]["Service"] == "cloudwatch.amazonaws.com"
                && list(&statement["Action"]).into_iter().any(|own| own == action)
        })
    };
    for action in ["kms:Decrypt", "kms:GenerateDataKey*"] {
        assert!(allows(&key["Properties"]["KeyPolicy"], action), "{action}");
    }
    let topics = of_type(&template, "AWS::SNS::TopicPolicy");
    assert!(
        topics
            .iter()
            .any(|(_, policy)| allows(&policy["Properties"]["PolicyDocument"], "sns:Publish"))
    );
}

// A rule's own queue gets what the rule could not invoke, and may receive it; what the function
// failed at goes there by the function's destination.
#[test]
fn what_schedules_fail_at_reaches_a_queue_that_may_receive_it() {
    let template = template();
    let policies = of_type(&template, "AWS::SQS::QueuePolicy");
    let rules: String = policies
        .iter()
        .filter(|(_, policy)| policy["Properties"]["Queues"].to_string().contains("ScheduleDlq"))
        .map(|(_, policy)| policy["Properties"]["PolicyDocument"].to_string())
        .collect();
    assert!(rules.contains("events.amazonaws.com") && rules.contains("sqs:SendMessage"), "{rules}");
    // The rules that SAM makes of schedules begin with the stack's name.
    assert!(rules.contains("rule/${AWS::StackName}-*"), "{rules}");
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        let events = function["Properties"]["Events"].as_object().into_iter().flatten();
        for (_, event) in events.filter(|(_, event)| event["Type"] == "Schedule") {
            assert!(
                event["Properties"]["DeadLetterConfig"]["Arn"].to_string().contains("ScheduleDlq"),
                "{name}"
            );
            let failed =
                &function["Properties"]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"];
            assert_eq!(failed["Type"], "SQS", "{name}");
            assert!(failed["Destination"].to_string().contains("ScheduleDlq"), "{name}");
            let role = format!("{}Role", name.trim_end_matches("Function"));
            let role = template["Resources"][&role].to_string();
            assert!(
                role.contains("sqs:SendMessage") && role.contains("ScheduleDlq"),
                "{name} may not tell"
            );
        }
    }
    let stream =
        &template["Resources"]["RelayFunction"]["Properties"]["Events"]["Stream"]["Properties"];
    assert_eq!(stream["DestinationConfig"]["OnFailure"]["Type"], "SQS");
}

#[test]
fn there_is_one_public_stage_and_a_wait_ends_before_the_gateway_gives_up() {
    let template = template();
    let version = &template["Resources"]["Api"]["Properties"]["OpenApiVersion"];
    assert!(
        version.to_string().contains("3.0.1"),
        "without it SAM makes a stage `Stage`: {version}"
    );
    assert!(of_type(&template, "AWS::ApiGateway::Stage").is_empty());
    const GATEWAY_SECONDS: u32 = 29;
    const { assert!(contracts::limits::GET_WAIT_SECONDS_MAX + 4 <= GATEWAY_SECONDS) };
}

// INVARIANT (bounded-work): one key's excess is refused before it takes the stage's rate from the
// others.
#[test]
fn requests_are_limited_by_key_and_by_address() {
    let template = template();
    let acl = &template["Resources"]["CallerLimits"]["Properties"];
    let rules = list(&acl["Rules"]);
    let limits = |rule: &&Value| {
        rule["Action"]["Block"].is_object()
            && rule["Statement"]["RateBasedStatement"]["Limit"]["Ref"].is_string()
    };
    assert!(rules.len() == 2 && rules.iter().all(limits), "{rules:?}");
    let of = |rule: &Value| rule["Statement"]["RateBasedStatement"].clone();
    assert_eq!(of(rules[0])["CustomKeys"][0]["Header"]["Name"], "authorization");
    assert_eq!(of(rules[1])["AggregateKeyType"], "IP");
    let association = &template["Resources"]["CallerLimitsOfApi"]["Properties"];
    assert_eq!(association["WebACLArn"]["Fn::GetAtt"], serde_json::json!(["CallerLimits", "Arn"]));
    assert!(
        association["ResourceArn"].to_string().contains("/restapis/${Api}/stages/${Api.Stage}")
    );
    for (answer, seconds) in [("THROTTLED", "'1'"), ("WAF_FILTERED", "'60'")] {
        let answer = &template["Resources"]["Api"]["Properties"]["GatewayResponses"][answer];
        assert_eq!(answer["StatusCode"], 429);
        assert_eq!(answer["ResponseParameters"]["Headers"]["Retry-After"], seconds);
    }
}

// What a deployment names is all that tools are called by, and a deployment that names nothing
// grants nothing.
#[test]
fn tools_are_invoked_and_sent_to_only_where_a_deployment_names_them() {
    let template = template();
    let mut granted = BTreeSet::new();
    let others = ["AccessDecryptsOidcSecret", "DeliverSendsMail"];
    let policies = of_type(&template, "AWS::IAM::Policy").into_iter();
    for (name, policy) in policies.filter(|(name, _)| !others.contains(&name.as_str())) {
        let own = &policy["Properties"];
        assert_eq!(own["Roles"], json!([{ "Ref": "AdvanceRole" }]), "{name}");
        let statements = own["PolicyDocument"]["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 1, "{name}");
        let statement = &statements[0];
        let parameter = statement["Resource"]["Ref"].as_str().unwrap();
        assert_eq!(template["Parameters"][parameter]["Default"], "", "{parameter}");
        let condition = &template["Conditions"][policy["Condition"].as_str().unwrap()];
        let named = json!({ "Fn::Join": ["", { "Ref": parameter }] });
        assert_eq!(*condition, json!({ "Fn::Not": [{ "Fn::Equals": [named, ""] }] }), "{name}");
        granted.insert((statement["Action"].as_str().unwrap(), parameter.to_owned()));
    }
    let wanted = [
        ("lambda:InvokeFunction", "ToolFunctionArns".to_owned()),
        ("sqs:SendMessage", "ToolQueueArns".to_owned()),
    ];
    assert_eq!(granted, wanted.into());
}

// Mails are sent by one function, from one address, and only where a deployment names it.
#[test]
fn mails_are_sent_only_where_a_deployment_names_their_sender() {
    let template = template();
    let policy = &template["Resources"]["DeliverSendsMail"];
    let condition = &template["Conditions"][policy["Condition"].as_str().unwrap()];
    let named = json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": "MailFrom" }, ""] }] });
    assert_eq!(*condition, named);
    assert_eq!(template["Parameters"]["MailFrom"]["Default"], "");
    let own = &policy["Properties"];
    assert_eq!(own["Roles"], json!([{ "Ref": "DeliverRole" }]));
    let statements = own["PolicyDocument"]["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Action"], "ses:SendEmail");
    let from = json!({ "StringEquals": { "ses:FromAddress": { "Ref": "MailFrom" } } });
    assert_eq!(statements[0]["Condition"], from);
}

// A secret under a key of one's own is read by nobody who may not decrypt with it: one function, by
// Secrets Manager alone, and only where a deployment names the key.
#[test]
fn the_secret_of_the_identity_provider_is_read_under_a_key_of_ones_own() {
    let template = template();
    let policy = &template["Resources"]["AccessDecryptsOidcSecret"];
    let condition = &template["Conditions"][policy["Condition"].as_str().unwrap()];
    let named = json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": "OidcClientSecretKeyArn" }, ""] }] });
    assert_eq!(*condition, named);
    assert_eq!(template["Parameters"]["OidcClientSecretKeyArn"]["Default"], "");
    let own = &policy["Properties"];
    assert_eq!(own["Roles"], json!([{ "Ref": "AccessRole" }]));
    let by = json!({ "Fn::Sub": "secretsmanager.${AWS::Region}.amazonaws.com" });
    let statement = json!({ "Effect": "Allow", "Action": "kms:Decrypt",
        "Resource": { "Ref": "OidcClientSecretKeyArn" },
        "Condition": { "StringEquals": { "kms:ViaService": by } } });
    assert_eq!(own["PolicyDocument"]["Statement"], json!([statement]));
}

// Each statement on the table: the actions and the partitions they are kept to.
fn table_statements(template: &Value) -> Vec<(String, Vec<String>, Vec<String>)> {
    let texts = |value: &Value| {
        list(value).into_iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut found = Vec::new();
    for (name, role) in of_type(template, "AWS::IAM::Role") {
        let policies = role["Properties"]["Policies"].as_array().unwrap().iter();
        for statement in
            policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap())
        {
            let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
            if keys.is_array() {
                found.push((name.clone(), texts(&statement["Action"]), texts(keys)));
            }
        }
    }
    found
}

// INVARIANT (append-only): no role can delete an event, of an execution or of a workspace's log;
// and none writes beyond the partitions that its code writes.
#[test]
fn no_role_deletes_events_or_writes_everywhere() {
    const DELETED: &[&str] = &[
        "open#*",
        "outbox#*",
        "export*",
        "export#*",
        "export#heads#*",
        "inbox#*",
        "inbound#*",
        "ws#*#inbox",
        "ws#*#waiting",
        "waking",
        "subscribed",
        "ws#*#cursor#*",
        "ws#*#target",
        "due#*",
        "ws#*#session",
    ];
    let may = |actions: &[String], action: &str| actions.iter().any(|own| own == action);
    let mut writers = 0;
    for (role, actions, keys) in table_statements(&template()) {
        if may(&actions, "dynamodb:DeleteItem") {
            assert!(
                keys.iter().all(|key| DELETED.contains(&key.as_str())),
                "{role} deletes {keys:?}"
            );
        }
        if may(&actions, "dynamodb:PutItem") {
            writers += 1;
            assert!(keys.iter().all(|key| key != "ws#*" && key != "*"), "{role} writes {keys:?}");
            let events = keys.iter().any(|key| key.contains("#exe#"));
            let own = keys.iter().any(|key| key == "ws#*#own");
            assert!(!(events && own), "{role} writes executions and what decides about them");
        }
    }
    assert!(writers >= 10);
}

// INVARIANT (no-secrets-in-evidence): what is sealed is read by the function that calls tools, and
// by no other.
#[test]
fn only_advance_reads_the_vault() {
    for (role, actions, keys) in table_statements(&template()) {
        let vault = keys.iter().any(|key| key.starts_with("vault#") || key.starts_with('*'));
        let reads =
            actions.iter().any(|action| action.ends_with("GetItem") || action.ends_with("Query"));
        assert!(!(vault && reads) || role == "AdvanceRole", "{role}");
    }
}

// What runs in one process is what runs on AWS: every function, by what starts it.
#[test]
fn one_process_is_put_together_as_the_template_is() {
    use local::Trigger;
    let template = template();
    let text = include_str!("../../../infra/execution.asl.json");
    let here: BTreeSet<(String, String)> =
        local::assembly(&local::asl::Machine::parse(text).unwrap())
            .into_iter()
            .map(|(function, trigger)| {
                let trigger = match trigger {
                    Trigger::Route(method, path) => format!("{method} {path}"),
                    Trigger::Door => "door".into(),
                    Trigger::Task => "task".into(),
                    Trigger::Stream => "stream".into(),
                    Trigger::Queue => "queue".into(),
                    Trigger::Schedule => "schedule".into(),
                };
                (function.to_owned(), trigger)
            })
            .collect();
    let name = |logical: &str| logical.trim_end_matches("Function").to_lowercase();
    let mut there = BTreeSet::new();
    for (logical, function) in of_type(&template, "AWS::Serverless::Function") {
        for event in
            function["Properties"]["Events"].as_object().into_iter().flat_map(|all| all.values())
        {
            let properties = &event["Properties"];
            let trigger = match event["Type"].as_str().unwrap() {
                "Api" => {
                    let text = |key: &str| properties[key].as_str().unwrap();
                    let (method, path) = (text("Method"), text("Path"));
                    let offered = endpoint::all().any(|endpoint| {
                        endpoint.offered
                            && endpoint.path == path
                            && endpoint.method.as_str() == method
                    });
                    if !offered {
                        // Both answer that it is not offered.
                        continue;
                    }
                    format!("{method} {path}")
                }
                "DynamoDB" => "stream".into(),
                "SQS" => "queue".into(),
                "Schedule" => "schedule".into(),
                other => panic!("{logical}: `{other}`"),
            };
            there.insert((name(logical), trigger));
        }
    }
    let substitutions =
        &template["Resources"]["StateMachine"]["Properties"]["DefinitionSubstitutions"];
    for logical in substitutions.as_object().unwrap().keys() {
        there.insert((name(logical), "task".into()));
    }
    let door = &template["Resources"]["Api"]["Properties"]["Auth"]["Authorizers"]["Keys"];
    let door = door["FunctionArn"]["Fn::GetAtt"][0]
        .as_str()
        .or_else(|| door["FunctionArn"]["Fn::GetAtt"].as_str()?.split('.').next());
    there.insert((name(door.unwrap()), "door".into()));
    assert_eq!(here, there);
    let started: BTreeSet<String> = there.into_iter().map(|(function, _)| function).collect();
    assert_eq!(
        started,
        functions().into_iter().collect(),
        "every function is started by something"
    );
}
