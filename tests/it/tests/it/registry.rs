//! A skill with more versions than one transaction holds.

use countersign_it::{House, install_body};
use local::demo_tools::trust_policy;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn attack_the_version_that_is_one_too_many_to_be_looked_at() {
    let house = House::start().await;
    let mut manifest = house.tools.manifests().unwrap().remove(0);
    let key = manifest["skill"]["key"].as_str().unwrap().to_owned();
    let mut last = json!(null);
    for minor in 10..120 {
        manifest["skill"]["version"] = json!(format!("3.{minor}.0"));
        let (status, answer) = house.approver.post("/v1/skills", &install_body(&manifest)).await;
        assert_eq!(status, 201, "{answer}");
        if minor == 99 {
            last = answer["manifestDigest"].clone(); // the last by its letters
        }
    }
    let mut trust = trust_policy();
    trust.revoked_digests = vec![last.as_str().unwrap().parse().unwrap()];
    house.trust(&trust).await;
    manifest["skill"]["version"] = json!("3.1.0");
    let (status, answer) = house.approver.post("/v1/skills", &install_body(&manifest)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("ROLLBACK_REFUSED")), "{answer}");

    let (status, answer) = house.approver.post(&format!("/v1/skills/{key}/disable"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let (_, list) = house.approver.get("/v1/skills?limit=200").await;
    let left: Vec<_> =
        list["items"].as_array().unwrap().iter().filter(|skill| skill["skillKey"] == key.as_str()).collect();
    assert!(left.is_empty(), "{} versions are still in use", left.len());
}
