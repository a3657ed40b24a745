//! What is refused: nothing that a provider did not sign, now, for us.

use super::*;

#[test]
fn attack_channel_requests_unsigned_forged_and_changed() {
    for (provider, request) in all("pay me") {
        let signed = |name: &&String| name.contains("signature") || name.contains("secret-token");
        let signature = request.0.keys().find(signed).unwrap().clone();
        // Unsigned.
        let mut unsigned = request.clone();
        unsigned.0.remove(&signature);
        let refused = take(provider, &unsigned, SECRET).unwrap_err();
        assert!(matches!(refused, ChannelError::Missing(_)), "{provider}: {refused}");
        assert!(refused.is_unauthenticated());
        // Forged: each byte of the signature matters, and no form of nothing is one.
        let good = request.0[&signature].clone();
        let mut forged: Vec<String> = (0..good.len())
            .map(|index| {
                let mut bytes = good.clone().into_bytes();
                bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
                String::from_utf8(bytes).unwrap()
            })
            .collect();
        forged.extend(["", "v0=", "sha256=", "=", "null"].map(str::to_owned));
        forged.extend([format!("{good}0"), good[..good.len() - 2].to_owned()]);
        forged.extend([good.trim_start_matches("v0=").trim_start_matches("sha256=").to_owned()]);
        for signature_value in forged.into_iter().filter(|forged| *forged != good) {
            let mut forged = request.clone();
            forged.0.insert(signature.clone(), signature_value.clone());
            // The last digit of base64 holds bits that are no part of the signature.
            let same = provider == Provider::Twilio
                && B64.decode(&signature_value).ok() == B64.decode(&good).ok();
            let refused = take(provider, &forged, SECRET);
            assert!(same || refused == Err(ChannelError::Signature), "{provider}: {refused:?}");
        }
        // Another body under the same signature; Telegram signs none.
        if provider != Provider::Telegram {
            let mut changed = request.clone();
            let at = String::from_utf8_lossy(&changed.1).find("pay").unwrap();
            changed.1[at] = b'P';
            assert_eq!(take(provider, &changed, SECRET), Err(ChannelError::Signature));
        }
        // Another secret, and none.
        assert_eq!(take(provider, &request, "another"), Err(ChannelError::Signature));
        assert_eq!(take(provider, &request, ""), Err(ChannelError::Signature));
    }
    let (_, body) = twilio(SECRET, URL, &SMS);
    let (elsewhere, _) = twilio(SECRET, "https://evil.example/x", &SMS);
    assert_eq!(take(Provider::Twilio, &(elsewhere, body), SECRET), Err(ChannelError::Signature));
}

#[test]
fn attack_a_webhook_of_one_provider_with_the_secret_of_another() {
    for (provider, request) in all("x") {
        for other in Provider::ALL.into_iter().filter(|other| *other != provider) {
            let refused = take(other, &request, SECRET);
            // GitHub and Meta sign alike; their documents and headers are others.
            let foreign = match refused {
                Err(_) => true,
                Ok(Received::Events(ref events)) => events.is_empty(),
                Ok(Received::Challenge(_)) => false,
            };
            assert!(foreign, "{provider} as {other}: {refused:?}");
        }
    }
}

#[test]
fn attack_slack_requests_late_and_from_the_future() {
    for (off, taken) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
        let request = slack(SECRET, 1_531_420_618 + off, &message("hello"));
        let outcome = take(Provider::Slack, &request, SECRET);
        assert_eq!(outcome.is_ok(), taken, "{off}");
        assert!(taken || outcome == Err(ChannelError::Late));
    }
    for timestamp in ["", "+1531420618", "1531420618.0", " 1531420618", "9223372036854775807"] {
        let (mut named, body) = slack(SECRET, 1_531_420_618, &message("hello"));
        named.insert("x-slack-request-timestamp".into(), timestamp.into());
        assert!(take(Provider::Slack, &(named, body), SECRET).is_err(), "{timestamp}");
    }
}

#[test]
fn attack_slack_event_without_a_team_and_identity_by_display_name() {
    let mut nobodys = message("hello");
    nobodys.as_object_mut().unwrap().remove("team_id");
    let refused = take(Provider::Slack, &slack(SECRET, 1_531_420_618, &nobodys), SECRET);
    assert_eq!(refused, Err(ChannelError::Malformed("/team_id")));
    for empty in [json!(null), json!(""), json!({}), json!(true)] {
        nobodys["team_id"] = empty;
        let refused = take(Provider::Slack, &slack(SECRET, 1_531_420_618, &nobodys), SECRET);
        assert!(refused.is_err());
    }
    // Names are nowhere in what is made of a message.
    let mut named = message("hello");
    named["event"]["username"] = json!("boss");
    named["event"]["user_profile"] = json!({ "display_name": "boss", "real_name": "boss" });
    let event = one(Provider::Slack, &slack(SECRET, 1_531_420_618, &named)).unwrap();
    assert_eq!(event.thread.external_user_id.as_deref(), Some("U2147483697"));
    let others = [
        one(
            Provider::Whatsapp,
            &hub(SECRET, &[], &whatsapp_messages(&json!([whatsapp_text("wamid.1", "hello")]))),
        ),
        one(Provider::Twilio, &twilio(SECRET, URL, &SMS)),
        one(Provider::Telegram, &telegram(SECRET, &update("hello"))),
        one(Provider::Github, &commented(&comment("hello"))),
    ];
    for event in others.into_iter().flatten().chain([event]) {
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains("boss") && !text.contains("\"Test\""), "{text}");
    }
    // Without a user there is nobody.
    let mut nobody = message("hello");
    nobody["event"].as_object_mut().unwrap().remove("user");
    nobody["event"]["username"] = json!("boss");
    assert_eq!(one(Provider::Slack, &slack(SECRET, 1_531_420_618, &nobody)), None);
}

#[test]
fn attack_another_teams_user_is_told_apart() {
    let mut shared = message("hello");
    shared["event"]["user_team"] = json!("T0OTHER");
    let event = one(Provider::Slack, &slack(SECRET, 1_531_420_618, &shared)).unwrap();
    assert_eq!(event.metadata.user_team.as_deref(), Some("T0OTHER"));
    assert_eq!(event.metadata.team, "T061EG9R6");
}

#[test]
fn attack_oversize_and_deep_documents() {
    let long = "x".repeat(contracts::limits::TEXT_BYTES_MAX + 1);
    for (provider, request) in all(&long) {
        assert_eq!(take(provider, &request, SECRET), Err(ChannelError::TooLong), "{provider}");
    }
    let deep = "[".repeat(100_000).into_bytes();
    let request = (headers(&[("x-telegram-bot-api-secret-token", SECRET)]), deep);
    let refused = take(Provider::Telegram, &request, SECRET);
    assert_eq!(refused, Err(ChannelError::Malformed("not JSON, or nested too deeply")));
    let many: Vec<Value> =
        (0..=CHANNEL_EVENTS_MAX).map(|n| whatsapp_text(&format!("wamid.{n}"), "x")).collect();
    let request = hub(SECRET, &[], &whatsapp_messages(&json!(many)));
    assert_eq!(take(Provider::Whatsapp, &request, SECRET), Err(ChannelError::TooMany));
    let many: Vec<(String, &str)> =
        (0..=CHANNEL_FIELDS_MAX).map(|n| (format!("F{n:04}"), "x")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let refused = take(Provider::Twilio, &twilio(SECRET, URL, &many), SECRET);
    assert_eq!(refused, Err(ChannelError::Malformed("too many fields")));
    let mut twice = twilio(SECRET, URL, &SMS);
    twice.1.extend(b"&Body=other");
    assert!(take(Provider::Twilio, &twice, SECRET).is_err(), "one field, one value");
}
