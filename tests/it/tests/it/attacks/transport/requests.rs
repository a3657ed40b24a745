//! Attacks with single requests: credentials, paths, methods, names, JSON.

use super::*;

/// Two Authorization headers, of an agent and of a person: a proxy may look at one, the server at
/// the other. Right: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_two_credentials_in_one_request() {
    let server = TestServer::start().await;
    for keys in [
        [&server.identity.agent_key, &server.identity.approver_key],
        [&server.identity.approver_key, &server.identity.agent_key],
    ] {
        let request = server.agent.request("GET", "/v1/freezes");
        let request = request.header("authorization", format!("Bearer {}", keys[1]));
        let (status, answer) = server.agent.send(request).await;
        assert_eq!(status, 401, "{answer}");
        let credentials = keys.map(|key| format!("Bearer {key}"));
        let headers = [
            ("authorization", credentials[0].as_str()),
            ("Authorization", credentials[1].as_str()),
        ];
        let answers = exchange(&server, head("GET", "/v1/freezes", &headers).as_bytes()).await;
        assert_eq!(statuses(&answers), [401], "{answers}");
        let joined = credentials.join(", ");
        let answers =
            exchange(&server, head("GET", "/v1/freezes", &[("authorization", &joined)]).as_bytes())
                .await;
        assert_eq!(statuses(&answers), [401], "{answers}");
    }
}

/// Two Idempotency-Keys, an endless one, one of other characters. Right: refused, and nothing is
/// done under any of them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_idempotency_keys_that_are_two_or_endless() {
    let server = TestServer::start().await;
    let body = json!({ "text": "keyed", "mode": "manual" });
    let post = || server.agent.request("POST", "/v1/intents").json(&body);
    let long = "k".repeat(10_000);
    for request in [
        post().header("idempotency-key", "one").header("idempotency-key", "two"),
        post().header("idempotency-key", &long),
        post().header("idempotency-key", ""),
        post().header("idempotency-key", [0xff_u8, 0xfe].as_slice()),
    ] {
        let (status, answer) = server.agent.send(request).await;
        assert!(status == 400 || status == 422, "{status} {answer}");
        assert!(answer.to_string().len() < 2_000, "{answer}");
    }
    assert_eq!(texts(&server.agent).await, Vec::<String>::new());
}

/// A route in other clothes: doubled slashes, encoded dots, NULs, capitals, the absolute form.
/// Right: it is another route, or the same under the same authority; never a way around the grant,
/// never a fault.
#[tokio::test(flavor = "multi_thread")]
async fn attack_paths_in_other_clothes() {
    let server = TestServer::start().await;
    let (agent, absolute) =
        (format!("Bearer {}", server.identity.agent_key), format!("{}/v1/keys", server.url()));
    for target in [
        "//v1//keys",
        "/v1//keys",
        "/v1/keys/",
        "/v1/keys/.",
        "/v1/./keys",
        "/v1/executions/../keys",
        "/V1/KEYS",
        "/v1/%6beys",
        "/v1%2fkeys",
        "/v1/executions/%2e%2e/keys",
        "/v1/executions/..%2f..%2fkeys",
        "/v1/keys%00",
        "/v1/keys%20",
        "/v1/keys;x=1",
        "/v1/keys%3flimit=1",
        "/v1/executions/%00",
        "/v1/executions/exe_%ff",
        "/v1/executions/%E2%80%AE",
        "/%c0%ae%c0%ae/v1/keys",
        "*",
        &absolute,
        "http://169.254.169.254/v1/keys",
        "file:///v1/keys",
        "/healthz/../v1/keys",
        "/.well-known/../v1/keys",
    ] {
        for credential in [None, Some(agent.as_str())] {
            let headers: Vec<_> =
                credential.iter().map(|credential| ("authorization", *credential)).collect();
            for method in ["GET", "POST", "HEAD"] {
                let answers = exchange_one(&server, &head(method, target, &headers)).await;
                let found = statuses(&answers);
                assert!(
                    found.iter().all(|status| (400..500).contains(status)),
                    "{method} {target}: {answers}"
                );
            }
        }
    }
    lives(&server).await;
}

// One request, after which the connection ends.
async fn exchange_one(server: &TestServer, head: &str) -> String {
    let head = head.replacen("\r\nhost", "\r\nconnection: close\r\nhost", 1);
    exchange(server, head.as_bytes()).await
}

/// Methods that nobody offers, other protocols, half of a protocol. Right: a 4xx or the end of the
/// connection; TRACE repeats no credential, and the server lives.
#[tokio::test(flavor = "multi_thread")]
async fn attack_methods_and_protocols_that_are_not_offered() {
    let server = TestServer::start().await;
    let bearer = format!("Bearer {}", server.identity.agent_key);
    for method in ["CONNECT", "TRACE", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "PROPFIND", "X"]
    {
        let target = if method == "CONNECT" { "169.254.169.254:80" } else { "/v1/executions" };
        let answers =
            exchange_one(&server, &head(method, target, &[("authorization", &bearer)])).await;
        assert!(
            statuses(&answers).iter().all(|status| (400..500).contains(status)),
            "{method}: {answers}"
        );
        assert!(
            !answers.contains(&server.identity.agent_key),
            "{method} repeats the key: {answers}"
        );
    }
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"[..],
        b"GET /v1/executions\r\n",
        b"GET /v1/executions HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n\r\n",
        b"GET /v1/executions HTTP/1.1\r\nhost: x\r\nauthorization : Bearer x\r\n\r\n",
        b"GET /v1/executions HTTP/1.1\r\nhost: x\r\n authorization: Bearer x\r\n\r\n",
        b"GET /v1/executions HTTP/1.1\nhost: x\n\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, \
            http2-settings\r\nhttp2-settings: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/executions HTTP/1.1\r\nhost: x\r\nx: \x00\x01\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let _ = stream.shutdown().await;
        let answers = read_all(&mut stream).await;
        let fine = |status: &u16| (400..500).contains(status) || bytes.starts_with(b"GET /healthz");
        assert!(
            statuses(&answers).iter().all(fine),
            "{}: {answers}",
            String::from_utf8_lossy(bytes)
        );
    }
    // HTTP/1.0 is answered as such, and under the same authority.
    let answers = exchange(&server, b"GET /v1/executions HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&answers), [401], "{answers}");
    lives(&server).await;
}

/// A page in the user's browser calls the local server: simple requests, preflights, another name
/// for 127.0.0.1. Right: without a key nothing is shown or done, no answer is readable across
/// origins, no preflight is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_page_in_the_users_browser() {
    let server = TestServer::start().await;
    let origin = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let mut seen = 0;
    for route in contracts::endpoint::all().filter(|endpoint| endpoint.auth != Auth::None) {
        let path: String =
            route.path.replace("{executionId}", "exe_00000000000000000000000000000000");
        let path =
            path.replace("{skillKey}", "crm").replace("{webhookId}", "x").replace("{keyId}", "x");
        let method = route.method.as_str();
        // As a form or `fetch` in mode `no-cors` sends it, under a name that was bound to
        // 127.0.0.1.
        let simple = head(
            method,
            &path,
            &[origin[0], origin[1], ("content-length", "0"), ("cookie", "key=1")],
        );
        let simple = simple.replacen("host: x", "host: rebound.evil.example:7411", 1);
        let asks = [
            origin[0],
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization"),
        ];
        for (answers, open) in [
            (exchange_one(&server, &simple).await, route.grant.is_empty()),
            (exchange_one(&server, &head("OPTIONS", &path, &asks)).await, false),
        ] {
            let found = statuses(&answers);
            assert!(
                found.iter().all(|status| *status >= 400 || open),
                "{method} {path}: {answers}"
            );
            assert!(
                !answers.to_lowercase().contains("access-control-allow"),
                "{method} {path}: {answers}"
            );
            seen += found.len();
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Names, ids and texts of a megabyte wherever a name is taken. Right: refused in a short answer
/// that does not repeat them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_names_of_a_megabyte() {
    let server = TestServer::start().await;
    let long = "n".repeat(900_000);
    let step = |id: &str, operation: &str| {
        json!({
        "draft": { "steps": [{ "id": id, "use": operation, "with": {} }] } })
    };
    let with = |mut body: Value, key: &str, value: Value| {
        body[key] = value;
        body
    };
    let text = json!({ "text": "x", "mode": "manual" });
    for (path, body) in [
        ("/v1/policies/explain", step(&long, "crm/customer.find")),
        ("/v1/policies/explain", step("a", &long)),
        ("/v1/policies/explain", step("a", &format!("crm/{long}"))),
        ("/v1/policies/explain", step("a", &format!("crm/customer.find@{long}"))),
        (
            "/v1/policies/explain",
            json!({ "draft": { "steps": [{ "id": "a", "use": "crm/customer.find",
                "after": [long] }] } }),
        ),
        (
            "/v1/policies/explain",
            json!({ "draft": { "steps": [{ "id": "a", "use": "crm/customer.find",
                "with": { long.as_str(): 1 } }] } }),
        ),
        ("/v1/policies/explain", json!({ "draft": { "steps": [], long.as_str(): 1 } })),
        ("/v1/intents", with(text.clone(), &long, json!(1))),
        ("/v1/intents", with(text.clone(), "mode", json!(long))),
        ("/v1/intents", with(text.clone(), "channelKey", json!(long))),
        ("/v1/intents", with(text.clone(), "traceId", json!(long))),
        ("/v1/intents", with(text.clone(), "onBehalfOf", json!(long))),
        ("/v1/intents", with(text.clone(), "workspaceId", json!(long))),
        ("/v1/intents", with(text.clone(), "playbook", json!({ "key": long, "inputs": {} }))),
        ("/v1/freezes", json!({ "scope": "skill", "key": long, "frozen": true })),
        ("/v1/keys", json!({ "actor": { "kind": "agent", "id": long }, "grants": [] })),
        ("/v1/keys", json!({ "actor": { "kind": "agent", "id": "a" }, "grants": [long] })),
        ("/v1/webhooks", json!({ "url": format!("https://{long}.example") })),
        ("/v1/webhooks", json!({ "url": "https://a.example", "types": [long] })),
        (
            "/v1/policies",
            json!({ "policies": format!("@id(\"{long}\") permit(principal, action, resource);") }),
        ),
        (
            "/v1/policies",
            json!({ "policies": format!("permit(principal, action == Action::\"{}\", resource);",
                &long[..200_000]) }),
        ),
    ] {
        let begun = Instant::now();
        let (status, answer) = server.approver.post(path, &body).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        let bytes = answer.to_string().len();
        assert!(
            bytes < 8_000,
            "{path}: an answer of {bytes} bytes: {}",
            &answer.to_string()[..500]
        );
        println!("{path} {status} {bytes} bytes {:?}", begun.elapsed());
    }
    lives(&server).await;
}

/// JSON at its edges: keys twice, lone surrogates, numbers of 20,000 digits and of exponents
/// without end, a key of a megabyte, deep alternation. Right: refused, or read as exactly one
/// value; a short answer, soon.
#[tokio::test(flavor = "multi_thread")]
async fn attack_json_at_its_edges() {
    let server = TestServer::start().await;
    let digits = "9".repeat(20_000);
    let deep: String = (0..40).map(|_| "{\"a\":[").collect::<String>() + "1" + &"]}".repeat(40);
    for (value, may) in [
        ("1e999999".to_owned(), false),
        (format!("1e{digits}"), false),
        (digits.clone(), false),
        (format!("0.{digits}"), true),
        (format!("1e-{digits}"), true),
        (format!("{digits}e-{}", 19_999), true),
        ("-0".to_owned(), true),
        ("9007199254740993.0".to_owned(), false),
        (r#""\ud800""#.to_owned(), false),
        (r#""\udc00\ud800""#.to_owned(), false),
        (r#"{"a":1,"\u0061":2}"#.to_owned(), false),
        (r#"{"__proto__":{"admin":true},"constructor":{"prototype":1}}"#.to_owned(), true),
        (format!("{{\"{}\":1}}", "k".repeat(900_000)), true),
        (format!("{{\"{}\":1,\"{}\":2}}", "k".repeat(400_000), "k".repeat(400_000)), false),
        (deep, false),
        ("[".repeat(1_000_000), false),
        (format!("[{}]", vec!["[]"; 300_000].join(",")), true),
        ("NaN".to_owned(), false),
        ("01".to_owned(), false),
        ("+1".to_owned(), false),
        ("\"\u{0}\"".to_owned(), false),
        ("1/**/".to_owned(), false),
        ("1,}".to_owned(), false),
    ] {
        let body = format!(r#"{{"text":"edge","mode":"manual","metadata":{{"v":{value}}}}}"#);
        let begun = Instant::now();
        let (status, answer) = server.agent.raw("/v1/intents", body.into_bytes()).await;
        let shown: String = value.chars().take(40).collect();
        assert!(
            (400..500).contains(&status) || (may && status == 202),
            "{shown}: {status} {answer}"
        );
        assert!(answer.to_string().len() < ANSWER_BYTES_MAX, "{shown}");
        println!("{shown:40} {status} {:?}", begun.elapsed());
    }
    lives(&server).await;
}
