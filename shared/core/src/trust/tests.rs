use super::*;
use contracts::governance::TrustedKey;
use serde_json::json;

const NOW: i64 = 1_795_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn trusted(id: &str, key: &SigningKey) -> TrustedKey {
    TrustedKey { key_id: id.into(), public_key: B64.encode(key.verifying_key().as_bytes()) }
}

fn trust() -> TrustPolicy {
    let publisher = TrustedPublisher {
        id: "acme".into(),
        keys: vec![trusted("k1", &key(1))],
        provenance_prefixes: vec!["github.com/acme".into()],
    };
    TrustPolicy { trusted_publishers: vec![publisher], ..TrustPolicy::default() }
}

fn manifest() -> Manifest {
    let at = |days: i64| Timestamp::from_ms(NOW + days * DAY_MS);
    serde_json::from_value(json!({ "schemaVersion": "1.0.0",
        "skill": { "key": "crm", "version": "1.2.0" },
        "publisher": { "id": "acme", "provenance": "github.com/acme/skills" },
        "artifact": { "digest": canonical::digest_bytes(b"") }, "operations": [],
        "signature": { "algorithm": "ed25519", "keyId": "k1", "issuedAt": at(-1),
            "expiresAt": at(1) } }))
    .unwrap()
}

fn signed(change: impl FnOnce(&mut Manifest), by: u8) -> Value {
    let mut manifest = manifest();
    change(&mut manifest);
    json!(sign(&manifest, &key(by)).unwrap())
}

// A payload as an attacker writes it, signed all the same.
fn raw(payload: &[u8], by: u8) -> Value {
    json!({ "payloadType": PAYLOAD_TYPE, "payload": B64.encode(payload),
        "signatures": [{ "sig": B64.encode(key(by).sign(&pae(payload)).to_bytes()) }] })
}

#[track_caller]
fn refused(given: &Value, trust: &TrustPolicy, code: Code) {
    let found = examine(given, trust, Timestamp::from_ms(NOW));
    assert_eq!(found.issues.first().map(|(code, _)| *code), Some(code), "{:?}", found.issues);
    assert!(!(found.signature_verified && found.publisher_trusted && found.issues.is_empty()));
}

#[test]
fn a_signed_manifest_of_a_trusted_publisher_is_taken() {
    let found = examine(&signed(|_| {}, 1), &trust(), Timestamp::from_ms(NOW));
    assert!(
        found.signature_verified && found.publisher_trusted && found.issues.is_empty(),
        "{:?}",
        found.issues
    );
    assert_eq!(found.manifest, Some(manifest()));
    assert_eq!(trust_problem(&manifest(), &trust(), Timestamp::from_ms(NOW)), None);
}

#[test]
fn attack_an_empty_trust_policy_trusts_nothing() {
    refused(&signed(|_| {}, 1), &TrustPolicy::default(), Code::PublisherUntrusted);
    let mut none = trust();
    none.trusted_publishers[0].keys.clear();
    refused(&signed(|_| {}, 1), &none, Code::KeyUntrusted);
    let mut nowhere = trust();
    nowhere.trusted_publishers[0].provenance_prefixes.clear();
    refused(&signed(|_| {}, 1), &nowhere, Code::ProvenanceUntrusted);
}

#[test]
fn attack_a_key_id_claimed_by_another_key() {
    refused(&signed(|_| {}, 2), &trust(), Code::SignatureInvalid);
    // A key pinned for somebody else speaks for somebody else only.
    let mut two = trust();
    two.trusted_publishers.push(TrustedPublisher {
        id: "evil".into(),
        keys: vec![trusted("k2", &key(2))],
        provenance_prefixes: vec!["github.com/acme".into()],
    });
    let by_evil =
        |manifest: &mut Manifest| manifest.signature.as_mut().unwrap().key_id = "k2".into();
    refused(&signed(by_evil, 2), &two, Code::KeyUntrusted);
    // The envelope's hint is not what counts, and must not say otherwise.
    let mut hinted = signed(|_| {}, 1);
    hinted["signatures"][0]["keyid"] = json!("k2");
    refused(&hinted, &two, Code::SignatureInvalid);
}

#[test]
fn attack_expired_not_yet_valid_and_stripped_validity() {
    let at = |days: i64| Timestamp::from_ms(NOW + days * DAY_MS);
    let valid = |from: i64, to: i64| {
        signed(
            |manifest| {
                let signature = manifest.signature.as_mut().unwrap();
                (signature.issued_at, signature.expires_at) = (at(from), at(to));
            },
            1,
        )
    };
    refused(&valid(-3, -1), &trust(), Code::SignatureExpired);
    refused(&valid(1, 3), &trust(), Code::SignatureExpired);
    refused(&valid(1, -1), &trust(), Code::SignatureExpired);
    refused(&signed(|manifest| manifest.signature = None, 1), &trust(), Code::SignatureMissing);
    let mut stripped = json!(manifest());
    stripped["signature"].as_object_mut().unwrap().remove("expiresAt");
    refused(&raw(&canonical::value_bytes(&stripped).unwrap(), 1), &trust(), Code::SignatureInvalid);
    let later = Timestamp::from_ms(NOW + 2 * DAY_MS);
    assert!(
        trust_problem(&manifest(), &trust(), later).unwrap().contains("ended"),
        "an installed skill's ends too"
    );
}

#[test]
fn attack_a_nested_forged_signature_field() {
    // A second statement somewhere else in the document, or in the envelope, says nothing.
    let forged = json!({ "algorithm": "ed25519", "keyId": "k1",
        "issuedAt": Timestamp::from_ms(NOW - 1),
        "expiresAt": Timestamp::from_ms(NOW + DAY_MS) });
    let nest = |manifest: &mut Manifest| {
        manifest.metadata.insert("signature".into(), forged.clone());
        manifest.signature = None;
    };
    refused(&signed(nest, 1), &trust(), Code::SignatureMissing);
    let mut beside = signed(|manifest| manifest.signature = None, 1);
    beside["signature"] = forged.clone();
    refused(&beside, &trust(), Code::SignatureInvalid);
    // Twice the same key in the signed bytes: readers differ in which they take.
    let bytes = canonical::to_bytes(&manifest()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let doubled = text.replacen('{', "{\"signature\":null,", 1);
    refused(&raw(doubled.as_bytes(), 1), &trust(), Code::ManifestInvalid);
    refused(&raw(format!(" {text}").as_bytes(), 1), &trust(), Code::SignatureInvalid);
    let mut two = signed(|_| {}, 1);
    let sig = two["signatures"][0].clone();
    two["signatures"] = json!([sig.clone(), sig]);
    refused(&two, &trust(), Code::SignatureInvalid);
    let other =
        |manifest: &mut Manifest| manifest.signature.as_mut().unwrap().algorithm = "none".into();
    refused(&signed(other, 1), &trust(), Code::SignatureInvalid);
}

#[test]
fn attack_changed_bytes_and_another_payload_type() {
    let mut changed = signed(|_| {}, 1);
    let evil = Manifest { operations: Vec::new(), ..manifest() };
    let evil = Manifest {
        skill: contracts::manifest::SkillName { key: "evil".into(), ..evil.skill.clone() },
        ..evil
    };
    changed["payload"] = json!(B64.encode(canonical::to_bytes(&evil).unwrap()));
    refused(&changed, &trust(), Code::SignatureInvalid);
    let mut other = signed(|_| {}, 1);
    other["payloadType"] = json!("application/vnd.in-toto+json");
    refused(&other, &trust(), Code::SignatureInvalid);
    other["payloadType"] = json!(PAYLOAD_TYPE);
    other["signatures"] = json!([]);
    refused(&other, &trust(), Code::SignatureMissing);
    refused(&json!(manifest()), &trust(), Code::SignatureMissing);
    refused(&json!("text"), &trust(), Code::SignatureMissing);
}

#[test]
fn provenance_is_whole_words() {
    let at = |place: &str| signed(|manifest| manifest.publisher.provenance = place.into(), 1);
    let found =
        |place: &str| examine(&at(place), &trust(), Timestamp::from_ms(NOW)).issues.is_empty();
    for place in ["github.com/acme", "github.com/acme/skills", "github.com/acme@main"] {
        assert!(found(place), "{place}");
    }
    for place in ["github.com/acme-evil/skills", "github.com/ac", "evil.com/github.com/acme", ""] {
        refused(&at(place), &trust(), Code::ProvenanceUntrusted);
    }
}

#[test]
fn attack_revoked_and_below_the_minimum() {
    let mut revoked = trust();
    revoked.revoked_digests = vec![manifest_digest(&manifest()).unwrap()];
    refused(&signed(|_| {}, 1), &revoked, Code::RollbackRefused);
    // Signing it anew makes it no other skill.
    let anew = |manifest: &mut Manifest| {
        manifest.signature.as_mut().unwrap().issued_at = Timestamp::from_ms(NOW - 5)
    };
    refused(&signed(anew, 1), &revoked, Code::RollbackRefused);
    let mut minimum = trust();
    minimum.minimum_versions = [("crm".to_owned(), "1.10.0".to_owned())].into();
    refused(&signed(|_| {}, 1), &minimum, Code::RollbackRefused);
    minimum.minimum_versions = [("crm".to_owned(), "1.2.0".to_owned())].into();
    assert!(examine(&signed(|_| {}, 1), &minimum, Timestamp::from_ms(NOW)).issues.is_empty());
    // Skills without files share the digest of no bytes.
    let mut nothing = trust();
    nothing.revoked_digests = vec![canonical::digest_bytes(b"")];
    assert!(examine(&signed(|_| {}, 1), &nothing, Timestamp::from_ms(NOW)).issues.is_empty());
}

#[test]
fn a_trust_policy_that_cannot_mean_what_it_says_is_refused() {
    let mut wrong = trust();
    wrong.trusted_publishers[0].keys[0].public_key = B64.encode([0_u8; 32]);
    wrong.trusted_publishers[0].provenance_prefixes.push(String::new());
    wrong.trusted_publishers.push(wrong.trusted_publishers[0].clone());
    wrong.minimum_versions = [("crm".to_owned(), "one".to_owned())].into();
    let pointers: Vec<String> = check(&wrong).into_iter().map(|issue| issue.pointer).collect();
    assert!(
        pointers.contains(&"/trust/trustedPublishers/0/keys/0/publicKey".to_owned()),
        "{pointers:?}"
    );
    assert!(
        pointers.contains(&"/trust/trustedPublishers/0/provenancePrefixes/1".to_owned()),
        "{pointers:?}"
    );
    assert!(pointers.contains(&"/trust/trustedPublishers/1/id".to_owned()), "{pointers:?}");
    assert!(pointers.contains(&"/trust/minimumVersions/crm".to_owned()), "{pointers:?}");
    assert!(check(&trust()).is_empty());
}
