//! Attacks on the way in: bytes on a socket, in every form that a client, a proxy or a browser could send them.

use contracts::endpoint::Auth;
use countersign_it::{Client, House};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest wait for bytes that come or not.
const QUIET: Duration = Duration::from_secs(3);
/// Answers are short, whatever was asked.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where the control plane listens.
pub(super) fn address(house: &House) -> String {
    house.url().trim_start_matches("http://").to_owned()
}

/// What a connection answers to some bytes, until it ends or is quiet.
async fn exchange(house: &House, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(house)).await.unwrap();
    // A server that has seen enough closes while the rest is being sent.
    let _ = stream.write_all(bytes).await;
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(Ok(count)) = tokio::time::timeout(QUIET, stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at..]);
    heads.filter_map(|head| head.split(' ').nth(1)?.parse().ok()).collect()
}

fn submit_body(text: &str) -> String {
    json!({ "text": text, "mode": "manual" }).to_string()
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

async fn texts(client: &Client) -> Vec<String> {
    let (_, list) = client.get("/v1/executions?limit=200").await;
    let items = list["items"].as_array().unwrap().iter();
    items.filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
}

async fn lives(house: &House) {
    assert_eq!(house.agent.get("/healthz").await.0, 200);
}

/// A request with both Content-Length and Transfer-Encoding hides another in its body. Right: the hidden one is never run.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_second_request_is_hidden_between_two_lengths() {
    let house = House::start().await;
    let bearer = format!("Bearer {}", house.identity.approver_key);
    let freeze = json!({ "scope": "workspace", "frozen": true }).to_string();
    let hidden =
        head("POST", "/v1/freezes", &[("authorization", &bearer), ("content-length", &freeze.len().to_string())])
            + &freeze;
    let own = submit_body("smuggled");
    // As a proxy that believes the length would pass it on: the hidden request is inside of the body.
    let body = format!("{:x}\r\n{own}\r\n0\r\n\r\n{hidden}", own.len());
    for coding in ["chunked", "xchunked", "chunked, identity", "identity, chunked"] {
        let length = body.len().to_string();
        let headers =
            [("authorization", bearer.as_str()), ("content-length", length.as_str()), ("transfer-encoding", coding)];
        let answers = exchange(&house, (head("POST", "/v1/intents", &headers) + &body).as_bytes()).await;
        assert!(statuses(&answers).len() <= 1, "{coding}: two answers to one request: {answers}");
    }
    // Two lengths, or one that is no number.
    for lengths in [["5", "500"], ["+5", "5"], ["0x5", "0x5"]] {
        let headers =
            [("authorization", bearer.as_str()), ("content-length", lengths[0]), ("content-length", lengths[1])];
        let answers = exchange(&house, (head("POST", "/v1/intents", &headers) + &body).as_bytes()).await;
        assert!(statuses(&answers).iter().all(|status| *status >= 400), "{lengths:?}: {answers}");
    }
    let (_, freezes) = house.approver.get("/v1/freezes").await;
    assert_eq!(freezes["items"], json!([]), "the hidden request was run");
}

/// Two Authorization headers, of an agent and of a person: a proxy may look at one, the server at the other. Right: refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_two_credentials_in_one_request() {
    let house = House::start().await;
    for keys in [
        [&house.identity.agent_key, &house.identity.approver_key],
        [&house.identity.approver_key, &house.identity.agent_key],
    ] {
        let request = house.agent.request("GET", "/v1/freezes");
        let request = request.header("authorization", format!("Bearer {}", keys[1]));
        let (status, answer) = house.agent.send(request).await;
        assert_eq!(status, 401, "{answer}");
        let credentials = keys.map(|key| format!("Bearer {key}"));
        let headers = [("authorization", credentials[0].as_str()), ("Authorization", credentials[1].as_str())];
        let answers = exchange(&house, head("GET", "/v1/freezes", &headers).as_bytes()).await;
        assert_eq!(statuses(&answers), [401], "{answers}");
        let joined = credentials.join(", ");
        let answers = exchange(&house, head("GET", "/v1/freezes", &[("authorization", &joined)]).as_bytes()).await;
        assert_eq!(statuses(&answers), [401], "{answers}");
    }
}

/// Two Idempotency-Keys, an endless one, one of other characters. Right: refused, and nothing is done under any of them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_idempotency_keys_that_are_two_or_endless() {
    let house = House::start().await;
    let body = json!({ "text": "keyed", "mode": "manual" });
    let post = || house.agent.request("POST", "/v1/intents").json(&body);
    let long = "k".repeat(10_000);
    for request in [
        post().header("idempotency-key", "one").header("idempotency-key", "two"),
        post().header("idempotency-key", &long),
        post().header("idempotency-key", ""),
        post().header("idempotency-key", [0xff_u8, 0xfe].as_slice()),
    ] {
        let (status, answer) = house.agent.send(request).await;
        assert!(status == 400 || status == 422, "{status} {answer}");
        assert!(answer.to_string().len() < 2_000, "{answer}");
    }
    assert_eq!(texts(&house.agent).await, Vec::<String>::new());
}

/// A route in other clothes: doubled slashes, encoded dots, NULs, capitals, the absolute form. Right: it is another
/// route, or the same under the same authority; never a way around the grant, never a fault.
#[tokio::test(flavor = "multi_thread")]
async fn attack_paths_in_other_clothes() {
    let house = House::start().await;
    let (agent, absolute) = (format!("Bearer {}", house.identity.agent_key), format!("{}/v1/keys", house.url()));
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
            let headers: Vec<_> = credential.iter().map(|credential| ("authorization", *credential)).collect();
            for method in ["GET", "POST", "HEAD"] {
                let answers = exchange_one(&house, &head(method, target, &headers)).await;
                let found = statuses(&answers);
                assert!(found.iter().all(|status| (400..500).contains(status)), "{method} {target}: {answers}");
            }
        }
    }
    lives(&house).await;
}

// One request, after which the connection ends.
async fn exchange_one(house: &House, head: &str) -> String {
    let head = head.replacen("\r\nhost", "\r\nconnection: close\r\nhost", 1);
    exchange(house, head.as_bytes()).await
}

/// Methods that nobody offers, other protocols, half of a protocol. Right: a 4xx or the end of the connection; TRACE
/// repeats no credential, and the server lives.
#[tokio::test(flavor = "multi_thread")]
async fn attack_methods_and_protocols_that_are_not_offered() {
    let house = House::start().await;
    let bearer = format!("Bearer {}", house.identity.agent_key);
    for method in ["CONNECT", "TRACE", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "PROPFIND", "X"] {
        let target = if method == "CONNECT" { "169.254.169.254:80" } else { "/v1/executions" };
        let answers = exchange_one(&house, &head(method, target, &[("authorization", &bearer)])).await;
        assert!(statuses(&answers).iter().all(|status| (400..500).contains(status)), "{method}: {answers}");
        assert!(!answers.contains(&house.identity.agent_key), "{method} repeats the key: {answers}");
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
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/executions HTTP/1.1\r\nhost: x\r\nx: \x00\x01\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address(&house)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let _ = stream.shutdown().await;
        let answers = read_all(&mut stream).await;
        let fine = |status: &u16| (400..500).contains(status) || bytes.starts_with(b"GET /healthz");
        assert!(statuses(&answers).iter().all(fine), "{}: {answers}", String::from_utf8_lossy(bytes));
    }
    // HTTP/1.0 is answered as such, and under the same authority.
    let answers = exchange(&house, b"GET /v1/executions HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&answers), [401], "{answers}");
    lives(&house).await;
}

/// A thousand requests in one write. Right: each is answered once and in its order, and nobody else waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_thousand_pipelined_requests() {
    let house = House::start().await;
    let one =
        head("GET", "/v1/executions?limit=1", &[("authorization", &format!("Bearer {}", house.identity.agent_key))]);
    let mut stream = TcpStream::connect(address(&house)).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(one.repeat(1_000).as_bytes()).await.unwrap();
        writer.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    };
    let mut answers = String::new();
    let receive = async {
        reader.read_to_string(&mut answers).await.unwrap();
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(house.approver.get("/v1/freezes").await.0, 200);
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let ((), (), slowest) = tokio::join!(send, receive, others);
    let found = statuses(&answers);
    assert_eq!(found.len(), 1_001, "one answer for each request");
    assert!(found.iter().all(|status| *status == 200) && answers.ends_with(r#"{"status":"ok"}"#));
    println!("beside 1,000 pipelined requests another's slowest answer took {slowest:?}");
}

/// Chunks whose sizes overflow, extensions and trailers without end, a body of one-byte chunks. Right: refused or read
/// exactly; a trailer is never a header.
#[tokio::test(flavor = "multi_thread")]
async fn attack_chunks() {
    let house = House::start().await;
    let bearer = format!("Bearer {}", house.identity.agent_key);
    let start = head("POST", "/v1/intents", &[("authorization", &bearer), ("transfer-encoding", "chunked")]);
    let own = submit_body("chunked");
    let size = own.len();
    for body in [
        format!("ffffffffffffffff0\r\n{own}\r\n0\r\n\r\n"),
        format!("ffffffffffffffff\r\n{own}"),
        format!("-{size:x}\r\n{own}\r\n0\r\n\r\n"),
        format!("0x{size:x}\r\n{own}\r\n0\r\n\r\n"),
        format!("{size:x};{}\r\n{own}\r\n0\r\n\r\n", "x=y;".repeat(100_000)),
        format!("{size:x}\r\n{own}XX0\r\n\r\n"),
        format!("{size:x}\r\n{own}\r\n0\r\n{}\r\n", "x-trailer: y\r\n".repeat(100_000)),
    ] {
        let answers = exchange(&house, format!("{start}{body}").as_bytes()).await;
        assert!(statuses(&answers).iter().all(|status| (400..500).contains(status)), "{answers}");
    }
    assert_eq!(texts(&house.agent).await, Vec::<String>::new(), "half of a body was taken");
    // One byte a chunk, and an Idempotency-Key where it is none.
    let chunks: String = own.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
    let start = start.replacen("\r\nhost", "\r\nconnection: close\r\nhost", 1);
    let whole = format!("{start}{chunks}0\r\nidempotency-key: trailer\r\nauthorization: Bearer other\r\n\r\n");
    for _ in 0..2 {
        let answers = exchange(&house, whole.as_bytes()).await;
        assert_eq!(statuses(&answers), [202], "{answers}");
    }
    assert_eq!(texts(&house.agent).await, ["chunked", "chunked"], "a trailer was taken as an idempotency key");
}

/// Bodies that are not JSON in UTF-8, or say that they are something else. Right: refused, and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn attack_bodies_in_other_encodings() {
    let house = House::start().await;
    let own = submit_body("encoded");
    let utf16: Vec<u8> = own.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let zipped = {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(own.as_bytes()).unwrap();
        gzip.write_all(&vec![b' '; 64 << 20]).unwrap();
        gzip.finish().unwrap()
    };
    type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], Vec<u8>);
    let cases: [Case<'_>; 12] = [
        ("UTF-16", &[("content-type", "application/json; charset=utf-16")], utf16.clone()),
        ("UTF-16 with a mark", &[("content-type", "application/json")], [vec![0xff, 0xfe], utf16].concat()),
        ("a mark", &[("content-type", "application/json")], [b"\xef\xbb\xbf", own.as_bytes()].concat()),
        ("Latin-1", &[("content-type", "application/json; charset=iso-8859-1")], b"{\"text\":\"\xe4\"}".to_vec()),
        ("overlong", &[("content-type", "application/json")], b"{\"text\":\"\xc0\xaf\"}".to_vec()),
        ("a surrogate in UTF-8", &[("content-type", "application/json")], b"{\"text\":\"\xed\xa0\x80\"}".to_vec()),
        ("gzip", &[("content-type", "application/json"), ("content-encoding", "gzip")], zipped.clone()),
        ("gzip as identity", &[("content-type", "application/json")], zipped),
        ("a form", &[("content-type", "application/x-www-form-urlencoded")], own.clone().into_bytes()),
        ("plain text", &[("content-type", "text/plain")], own.clone().into_bytes()),
        ("many parts", &[("content-type", "multipart/form-data; boundary=x")], own.clone().into_bytes()),
        (
            "two types",
            &[("content-type", "text/plain"), ("content-type", "application/json")],
            own.clone().into_bytes(),
        ),
    ];
    for (name, headers, body) in cases {
        let mut request = house.agent.request("POST", "/v1/intents");
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        let (status, answer) = house.agent.send(request.body(body)).await;
        assert!((400..500).contains(&status), "{name}: {status} {answer}");
        assert!(answer.to_string().len() < 4_000, "{name}: {answer}");
    }
    assert_eq!(texts(&house.agent).await, Vec::<String>::new());
}

/// `Expect: 100-continue` and ten gigabytes announced, without a key and with one. Right: answered before any of it is
/// asked for.
#[tokio::test(flavor = "multi_thread")]
async fn attack_ten_gigabytes_announced() {
    let house = House::start().await;
    let bearer = format!("Bearer {}", house.identity.agent_key);
    for (credential, wanted) in [("Bearer nobody", 401), (bearer.as_str(), 413)] {
        for path in ["/v1/intents", "/v1/skills"] {
            let headers =
                [("authorization", credential), ("content-length", "10000000000"), ("expect", "100-continue")];
            let answers = exchange(&house, head("POST", path, &headers).as_bytes()).await;
            assert_eq!(statuses(&answers), [wanted], "{path}: {answers}");
        }
    }
}

/// A page in the user's browser calls the local server: simple requests, preflights, another name for 127.0.0.1.
/// Right: without a key nothing is shown or done, no answer is readable across origins, no preflight is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_page_in_the_users_browser() {
    let house = House::start().await;
    let origin = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let mut seen = 0;
    for route in contracts::endpoint::all().filter(|endpoint| endpoint.auth != Auth::None) {
        let path: String = route.path.replace("{executionId}", "exe_00000000000000000000000000000000");
        let path = path.replace("{skillKey}", "crm").replace("{webhookId}", "x").replace("{keyId}", "x");
        let method = route.method.as_str();
        // As a form or `fetch` in mode `no-cors` sends it, under a name that was bound to 127.0.0.1.
        let simple = head(method, &path, &[origin[0], origin[1], ("content-length", "0"), ("cookie", "key=1")]);
        let simple = simple.replacen("host: x", "host: rebound.evil.example:7411", 1);
        let asks = [
            origin[0],
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization"),
        ];
        for (answers, open) in [
            (exchange_one(&house, &simple).await, route.grant.is_empty()),
            (exchange_one(&house, &head("OPTIONS", &path, &asks)).await, false),
        ] {
            let found = statuses(&answers);
            assert!(found.iter().all(|status| *status >= 400 || open), "{method} {path}: {answers}");
            assert!(!answers.to_lowercase().contains("access-control-allow"), "{method} {path}: {answers}");
            seen += found.len();
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Names, ids and texts of a megabyte wherever a name is taken. Right: refused in a short answer that does not repeat them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_names_of_a_megabyte() {
    let house = House::start().await;
    let long = "n".repeat(900_000);
    let step =
        |id: &str, operation: &str| json!({ "draft": { "steps": [{ "id": id, "use": operation, "with": {} }] } });
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
            json!({ "draft": { "steps": [{ "id": "a", "use": "crm/customer.find", "after": [long] }] } }),
        ),
        (
            "/v1/policies/explain",
            json!({ "draft": { "steps": [{ "id": "a", "use": "crm/customer.find", "with": { long.as_str(): 1 } }] } }),
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
        ("/v1/policies", json!({ "policies": format!("@id(\"{long}\") permit(principal, action, resource);") })),
        (
            "/v1/policies",
            json!({ "policies": format!("permit(principal, action == Action::\"{}\", resource);", &long[..200_000]) }),
        ),
    ] {
        let begun = Instant::now();
        let (status, answer) = house.approver.post(path, &body).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        let bytes = answer.to_string().len();
        assert!(bytes < 8_000, "{path}: an answer of {bytes} bytes: {}", &answer.to_string()[..500]);
        println!("{path} {status} {bytes} bytes {:?}", begun.elapsed());
    }
    lives(&house).await;
}

/// JSON at its edges: keys twice, lone surrogates, numbers of 20,000 digits and of exponents without end, a key of a
/// megabyte, deep alternation. Right: refused, or read as exactly one value; a short answer, soon.
#[tokio::test(flavor = "multi_thread")]
async fn attack_json_at_its_edges() {
    let house = House::start().await;
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
        let (status, answer) = house.agent.raw("/v1/intents", body.into_bytes()).await;
        let shown: String = value.chars().take(40).collect();
        assert!((400..500).contains(&status) || (may && status == 202), "{shown}: {status} {answer}");
        assert!(answer.to_string().len() < ANSWER_BYTES_MAX, "{shown}");
        println!("{shown:40} {status} {:?}", begun.elapsed());
    }
    lives(&house).await;
}
