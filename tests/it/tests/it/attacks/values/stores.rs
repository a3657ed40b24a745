//! Attacks on blobs and artifacts of another workspace or operation.

use super::*;

/// Names that climb out of their folder: every record's blobs lie in a folder of their own,
/// whatever it is called.
#[test]
fn attack_blob_names_that_climb_or_collide() {
    let digest = cs_core::canonical::digest_bytes(b"x");
    let path = |partition: &str| {
        BlobName::of(&Key { partition: partition.into(), sort: "b".into() }, digest.clone()).path()
    };
    let mut seen = std::collections::BTreeSet::new();
    let partitions = [
        "ws#acme#exe#1",
        "ws#acme#exe#..",
        "ws#..#..#etc",
        "../../etc",
        "..",
        ".",
        "",
        "#",
        "##",
        "ws#acme/exe#1",
        "ws#acme#exe/1",
        "ws#acme#exe#1\u{0}",
        "ws#acme#exe#1=2f",
        "ws#acme#exe#1/2f",
        "ws#ACME#exe#1",
        "ws#=41cme#exe#1",
        "ws#Acme#exe#1",
        "ws#аcme#exe#1",
        "=-",
        "/etc/passwd",
        "C:\\x",
    ];
    for partition in partitions {
        let path = path(partition);
        let words: Vec<&str> = path.split('/').collect();
        let plain =
            |word: &&str| !word.is_empty() && **word != *"." && **word != *".." && word.is_ascii();
        assert!(
            words.iter().all(plain) && !path.contains(['\\', '\0', ':']),
            "{partition:?}: {path}"
        );
        assert!(
            seen.insert(path.to_lowercase()),
            "{partition:?}, where capitals do not count: {path}"
        );
    }
    assert!(
        "..".parse::<contracts::WorkspaceId>().is_err()
            && "a/b".parse::<contracts::StepId>().is_err()
    );
}

/// A blob or an output of another workspace, named by its digest wherever a caller may write one:
/// nothing is opened.
#[tokio::test(flavor = "multi_thread")]
async fn attack_another_workspaces_artifact_is_named_by_digest() {
    let server = TestServer::start().await;
    let other = countersign_it::Client::new(&server.url(), &server.another().await.approver_key);
    let mut manifest = server.tools.manifests().unwrap().remove(0);
    manifest["skill"]["key"] = json!("stolen");
    let body = install_body(&manifest);
    let mut named = body.clone();
    named["artifact"] = json!({ "blob": format!("sha256:{}", "a".repeat(64)) });
    let (status, answer) = other.post("/v1/skills", &named).await;
    assert!(status >= 400, "{answer}");
    for blob in ["../../settings", "sha256:../../x", "", "sha256:", &"a".repeat(64)] {
        let mut named = body.clone();
        named["artifact"] = json!({ "blob": blob });
        let (status, answer) = server.approver.post("/v1/skills", &named).await;
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("VALIDATION_FAILED")),
            "{blob:?}: {answer}"
        );
    }
}
