//! The scenarios of skills: what may be installed, and what happens when it is trusted no longer;
//! each attack by its name.

use super::*;
use crate::{install_body, now};
use contracts::{governance::TrustPolicy, manifest::Manifest};
use cs_core::{artifact, publisher::SkillSigner};
use local::demo_tools::{publisher, trust_policy};
use std::collections::BTreeMap;

pub(crate) const DAY_MS: i64 = 86_400_000;

pub(crate) fn code((status, answer): &(u16, Value)) -> (u16, String) {
    (*status, answer["code"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn manifest_of(server: &TestServer, index: usize) -> Value {
    server.tools.manifests().unwrap().remove(index)
}

// A request with a manifest that was changed before it was signed, and its artifact's bytes.
fn signed_by(publisher: &SkillSigner, manifest: &Value, bytes: &[u8]) -> Value {
    let manifest: Manifest = serde_json::from_value(manifest.clone()).unwrap();
    let at = now();
    serde_json::to_value(
        publisher.sign(manifest, bytes, at.plus_ms(-DAY_MS), at.plus_ms(DAY_MS)).unwrap(),
    )
    .unwrap()
}

/// Every code with which an installation is refused, each by what causes it; none occupies the
/// version.
pub async fn refused_skills_never_occupy_the_version(server: &TestServer) {
    let mut manifest = manifest_of(server, 2);
    manifest["skill"]["key"] = json!("post");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        // What is no manifest at all is signed as it stands.
        match serde_json::from_value::<Manifest>(manifest.clone()) {
            Ok(_) => signed_by(&publisher(), &manifest, b""),
            Err(_) => {
                let mut body = install_body(&manifest_of(server, 2));
                body["manifest"] = json!({ "payloadType": "application/vnd.countersign.skill+json",
                    "payload": "e30=", "signatures": [{ "sig": "e30=" }] });
                body
            }
        }
    };
    let request = |change: &dyn Fn(&mut Value)| {
        let mut body = changed(&|_| ());
        change(&mut body);
        body
    };
    let at = now();
    let dated = |from: i64, to: i64| {
        let manifest: Manifest = serde_json::from_value(manifest.clone()).unwrap();
        json!(publisher().sign(manifest, b"", at.plus_ms(from), at.plus_ms(to)).unwrap())
    };
    let stranger = SkillSigner::from_secret(&[5; 32]);
    let files = BTreeMap::from([("README.md".to_owned(), b"hello".to_vec())]);
    let packed = artifact::pack(&files).unwrap();
    let swapped = {
        let mut body = signed_by(&publisher(), &manifest, &packed);
        body["artifact"] = json!({ "bytes": base64(b"other bytes than those") });
        body
    };
    let cases: Vec<(u16, &str, Value)> = vec![
        (400, "SIGNATURE_MISSING", request(&|body| body["manifest"] = manifest.clone())),
        (400, "SIGNATURE_MISSING", request(&|body| body["manifest"]["signatures"] = json!([]))),
        (
            400,
            "SIGNATURE_INVALID",
            request(&|body| body["manifest"]["signatures"][0]["sig"] = json!(base64(&[1; 64]))),
        ),
        (400, "SIGNATURE_EXPIRED", dated(-2 * DAY_MS, -DAY_MS)),
        (400, "SIGNATURE_EXPIRED", dated(DAY_MS, 2 * DAY_MS)),
        (403, "KEY_UNTRUSTED", signed_by(&stranger, &manifest, b"")),
        (403, "PUBLISHER_UNTRUSTED", changed(&|body| body["publisher"]["id"] = json!("somebody"))),
        (
            403,
            "PROVENANCE_UNTRUSTED",
            changed(&|body| body["publisher"]["provenance"] = json!("examples/skills-evil")),
        ),
        (400, "SCHEMA_VERSION_INVALID", changed(&|body| body["schemaVersion"] = json!("9.0.0"))),
        (
            400,
            "MANIFEST_INVALID",
            changed(&|body| body["operations"][0]["timeoutSeconds"] = json!(0)),
        ),
        (
            400,
            "MANIFEST_INVALID",
            changed(&|body| body["operations"][0]["inputSchema"] = json!({ "type": "nonsense" })),
        ),
        (
            400,
            "MANIFEST_INVALID",
            changed(&|body| body["operations"][0]["binding"]["url"] = json!("file:///etc/passwd")),
        ),
        (
            400,
            "MANIFEST_INVALID",
            changed(&|body| body["operations"][0]["resource"] = json!("/nope/x")),
        ),
        (
            400,
            "MANIFEST_INVALID",
            changed(&|body| body["operations"][0]["probe"] = json!("message.send")),
        ),
        (400, "MANIFEST_INVALID", request(&|body| body["version"] = json!("1.0.1"))),
        (
            409,
            "ARTIFACT_DIGEST_MISMATCH",
            request(&|body| body["artifactDigest"] = json!(format!("sha256:{}", "1".repeat(64)))),
        ),
        (409, "ARTIFACT_DIGEST_MISMATCH", swapped),
        // The very files the manifest lists, and something behind the end of the archive: only the
        // digest sees it.
        (409, "ARTIFACT_DIGEST_MISMATCH", {
            let mut body = signed_by(&publisher(), &manifest, &packed);
            body["artifact"] =
                json!({ "bytes": base64(&[packed.as_slice(), b"smuggled"].concat()) });
            body
        }),
        (409, "ARTIFACT_DIGEST_MISMATCH", {
            let mut body = signed_by(&publisher(), &manifest, &packed);
            body.as_object_mut().unwrap().remove("artifact");
            body
        }),
        (409, "ARTIFACT_DIGEST_MISMATCH", {
            let mut body = signed_by(&publisher(), &manifest, &packed);
            body["artifact"] = json!({ "blob": format!("sha256:{}", "1".repeat(64)) });
            body
        }),
        (
            409,
            "CONTRACTS_SPEC_TOO_OLD",
            changed(&|body| {
                body["compatibility"]["contractsSpec"] = json!({ "minVersion": "9.0.0" })
            }),
        ),
        (
            409,
            "CONTRACTS_SPEC_TOO_NEW",
            changed(&|body| {
                body["compatibility"]["contractsSpec"] = json!({ "maxVersion": "0.1.0" })
            }),
        ),
        (
            409,
            "CONTRACTS_SPEC_VERSION_MISSING",
            changed(&|body| body["compatibility"]["contractsSpec"] = json!({})),
        ),
        (
            409,
            "CONTROL_PLANE_TOO_OLD",
            changed(&|body| {
                body["compatibility"]["controlPlaneFeature"] = json!({ "minVersion": "9.0.0" })
            }),
        ),
        (
            409,
            "CONTROL_PLANE_TOO_NEW",
            changed(&|body| {
                body["compatibility"]["controlPlaneFeature"] = json!({ "maxVersion": "0.0.1" })
            }),
        ),
        (
            409,
            "CONTROL_PLANE_VERSION_MISSING",
            changed(&|body| body["compatibility"]["controlPlaneFeature"] = json!({})),
        ),
        (
            409,
            "CAPABILITY_MISSING",
            changed(&|body| {
                body["compatibility"]["requiredCapabilities"] =
                    json!([{ "key": "control-plane.not-there" }]);
            }),
        ),
    ];
    let refused = cases.len();
    for (status, wanted, body) in cases {
        let verified = server.approver.post("/v1/skills/verify", &body).await;
        assert_eq!(
            (verified.0, &verified.1["verified"]),
            (200, &json!(false)),
            "{wanted}: {}",
            verified.1
        );
        let listed =
            verified.1["issues"].as_array().unwrap().iter().any(|issue| issue["code"] == wanted);
        assert!(listed, "{wanted}: {}", verified.1);
        let answer = server.approver.post("/v1/skills", &body).await;
        assert_eq!(code(&answer), (status, wanted.to_owned()), "{}", answer.1);
        assert!(!answer.1["issues"].as_array().unwrap().is_empty(), "{}", answer.1);
    }
    let good = signed_by(&publisher(), &manifest, &packed);
    let (_, looked) = server.approver.post("/v1/skills/verify", &good).await;
    assert_eq!(looked["verified"], true, "{looked}");
    let (_, list) = server.approver.get("/v1/skills").await;
    assert!(
        !list.to_string().contains("\"post\""),
        "looking installs nothing, and nothing refused is there: {list}"
    );
    let (status, first) = server.approver.post("/v1/skills", &good).await;
    assert_eq!(
        (status, &first["verified"], &first["signatureVerified"]),
        (201, &json!(true), &json!(true)),
        "{first}"
    );
    let (_, again) = server.approver.post("/v1/skills", &good).await;
    assert_eq!(
        again["installationId"], first["installationId"],
        "the same content again is the same installation"
    );
    // Same version, other bytes; and the same bytes, signed anew.
    let other = signed_by(
        &publisher(),
        &manifest,
        &artifact::pack(&BTreeMap::from([("README.md".to_owned(), b"changed".to_vec())])).unwrap(),
    );
    assert_eq!(
        code(&server.approver.post("/v1/skills", &other).await),
        (409, "VERSION_CONFLICT".into())
    );
    let (_, renewed) =
        server.approver.post("/v1/skills", &signed_by(&publisher(), &manifest, &packed)).await;
    assert_eq!(renewed["installationId"], first["installationId"], "{renewed}");
    // Rollback: below a minimum, and below what is revoked.
    let mut trust = trust_policy();
    trust.minimum_versions.insert("post".into(), "2.0.0".into());
    let mut older = manifest.clone();
    older["skill"]["version"] = json!("1.5.0");
    server.trust(&trust).await;
    let older = signed_by(&publisher(), &older, b"");
    assert_eq!(
        code(&server.approver.post("/v1/skills", &older).await),
        (409, "ROLLBACK_REFUSED".into())
    );
    trust.minimum_versions.clear();
    trust.revoked_digests = vec![first["manifestDigest"].as_str().unwrap().parse().unwrap()];
    server.trust(&trust).await;
    assert_eq!(
        code(&server.approver.post("/v1/skills", &good).await),
        (409, "ROLLBACK_REFUSED".into()),
        "revoked"
    );
    let mut lower = manifest.clone();
    lower["skill"]["version"] = json!("0.1.0");
    let lower = signed_by(&publisher(), &lower, b"");
    assert_eq!(
        code(&server.approver.post("/v1/skills", &lower).await),
        (409, "ROLLBACK_REFUSED".into()),
        "below it"
    );
    trust.revoked_digests = vec![good["artifactDigest"].as_str().unwrap().parse().unwrap()];
    server.trust(&trust).await;
    assert_eq!(
        code(&server.approver.post("/v1/skills", &lower).await),
        (409, "ROLLBACK_REFUSED".into()),
        "by its files"
    );
    let (_, log) = server.approver.get("/v1/log?limit=200").await;
    assert_eq!((&log["verified"], &log["next"]), (&json!(true), &Value::Null), "{log}");
    let entries = log["entries"].as_array().unwrap();
    let rejected =
        entries.iter().filter(|entry| entry["type"] == "controlPlane.skill.rejected").count();
    assert_eq!(rejected, refused + 5, "each refused attempt is in the workspace's trace");
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// Trust that is withdrawn takes skills out of use: what has not begun does not begin; trusted
/// again, it goes on.
pub async fn what_is_trusted_no_longer_is_no_longer_used(server: &TestServer) {
    let id = server.submit(json!([find("c", "ada@x.org"), pay("p")])).await;
    server.until(&id, "blocked").await;
    let (status, stale) = server
        .approver
        .post("/v1/trust", &json!({ "trust": TrustPolicy::default(), "expectedVersion": 99 }))
        .await;
    assert_eq!((status, &stale["code"]), (412, &json!("PRECONDITION_FAILED")));
    let answer = server.trust(&TrustPolicy::default()).await;
    assert_eq!(answer["revoked"].as_array().unwrap().len(), 3, "{answer}");
    let counted = answer["voidedSteps"] == 1 || answer["voidedStepsPartial"] == true;
    assert!(counted, "the payout, which waits for people: {answer}");
    server.approve(&id).await;
    let view = server.settled(&id).await;
    for _ in 0..40 {
        let view = server.settled(&id).await;
        if step(&view, "p")["waitsFor"] == "skill_disabled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(
        server.tools.effects("payments/payout.create").is_empty(),
        "approved, and not run: {view}"
    );
    // Nothing new compiles against it either.
    let (_, answer) = server
        .agent
        .post("/v1/policies/explain", &json!({ "draft": { "steps": [find("c", "ada@x.org")] } }))
        .await;
    assert_eq!(answer["issues"][0]["code"], "UNKNOWN_SKILL", "{answer}");
    let (_, list) = server.approver.get("/v1/skills?includeDisabled=true").await;
    assert!(
        list["items"].as_array().unwrap().iter().all(|item| item["status"] == "revoked"),
        "{list}"
    );
    server.trust(&trust_policy()).await;
    for manifest in server.tools.manifests().unwrap() {
        server.install(&server.approver, &manifest).await;
    }
    let (_, list) = server.approver.get("/v1/skills").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "installed again: {list}");
    // What was held for want of its skill goes on when it is there again.
    server.until(&id, "completed").await;
}
