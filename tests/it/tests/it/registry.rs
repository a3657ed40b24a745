//! Skills that are not installed: with more versions than one transaction holds, or with tools
//! that cannot be called.

use countersign_it::{TestServer, install_body};
use local::demo_tools::trust_policy;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn attack_the_version_that_is_one_too_many_to_be_looked_at() {
    let server = TestServer::start().await;
    let mut manifest = server.tools.manifests().unwrap().remove(0);
    let key = manifest["skill"]["key"].as_str().unwrap().to_owned();
    let mut last = json!(null);
    for minor in 10..120 {
        manifest["skill"]["version"] = json!(format!("3.{minor}.0"));
        let (status, answer) = server.approver.post("/v1/skills", &install_body(&manifest)).await;
        assert_eq!(status, 201, "{answer}");
        if minor == 99 {
            last = answer["manifestDigest"].clone(); // the last by its letters
        }
    }
    let mut trust = trust_policy();
    trust.revoked_digests = vec![last.as_str().unwrap().parse().unwrap()];
    server.trust(&trust).await;
    manifest["skill"]["version"] = json!("3.1.0");
    let (status, answer) = server.approver.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("ROLLBACK_REFUSED")), "{answer}");

    let (status, answer) =
        server.approver.post(&format!("/v1/skills/{key}/disable"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let (_, list) = server.approver.get("/v1/skills?limit=200").await;
    let left: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|skill| skill["skillKey"] == key.as_str())
        .collect();
    assert!(left.is_empty(), "{} versions are still in use", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_whose_tools_this_deployment_cannot_call_is_not_installed() {
    let server = TestServer::start().await;
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:notes";
    let queue = "https://sqs.eu-central-1.amazonaws.com/123456789012/notes";
    for (kind, binding) in [
        ("lambda", json!({ "kind": "lambda", "functionArn": arn })),
        ("sqs", json!({ "kind": "sqs", "queueUrl": queue })),
    ] {
        let mut manifest = server.tools.manifests().unwrap().remove(0);
        let key = format!("on-{kind}");
        manifest["skill"]["key"] = json!(key);
        manifest["operations"][0]["binding"] = binding;
        let body = install_body(&manifest);
        let (status, answer) = server.approver.post("/v1/skills", &body).await;
        let issue = &answer["issues"][0];
        assert_eq!((status, &answer["code"]), (409, &json!("CAPABILITY_MISSING")), "{answer}");
        assert_eq!(issue["pointer"], "/manifest/operations/0/binding/kind");
        assert_eq!(issue["message"], format!("this deployment does not call tools by `{kind}`"));
        let (status, answer) = server.approver.post("/v1/skills/verify", &body).await;
        assert_eq!((status, &answer["verified"]), (200, &json!(false)), "{answer}");
        let (_, listed) = server.approver.get("/v1/skills?limit=200").await;
        assert!(!listed.to_string().contains(&key), "{listed}");
    }
}
