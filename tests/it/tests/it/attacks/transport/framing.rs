//! Attacks on the framing of requests: lengths, chunks, pipelines, encodings.

use super::*;

/// A request with both Content-Length and Transfer-Encoding hides another in its body. Right: the
/// hidden one is never run.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_second_request_is_hidden_between_two_lengths() {
    let server = TestServer::start().await;
    let bearer = format!("Bearer {}", server.identity.approver_key);
    let freeze = json!({ "scope": "workspace", "frozen": true }).to_string();
    let hidden = head(
        "POST",
        "/v1/freezes",
        &[("authorization", &bearer), ("content-length", &freeze.len().to_string())],
    ) + &freeze;
    let own = submit_body("smuggled");
    // As a proxy that believes the length would pass it on: the hidden request is inside of the
    // body.
    let body = format!("{:x}\r\n{own}\r\n0\r\n\r\n{hidden}", own.len());
    for coding in ["chunked", "xchunked", "chunked, identity", "identity, chunked"] {
        let length = body.len().to_string();
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-length", length.as_str()),
            ("transfer-encoding", coding),
        ];
        let answers =
            exchange(&server, (head("POST", "/v1/intents", &headers) + &body).as_bytes()).await;
        assert!(statuses(&answers).len() <= 1, "{coding}: two answers to one request: {answers}");
    }
    // Two lengths, or one that is no number.
    for lengths in [["5", "500"], ["+5", "5"], ["0x5", "0x5"]] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-length", lengths[0]),
            ("content-length", lengths[1]),
        ];
        let answers =
            exchange(&server, (head("POST", "/v1/intents", &headers) + &body).as_bytes()).await;
        assert!(statuses(&answers).iter().all(|status| *status >= 400), "{lengths:?}: {answers}");
    }
    let (_, freezes) = server.approver.get("/v1/freezes").await;
    assert_eq!(freezes["items"], json!([]), "the hidden request was run");
}

/// A thousand requests in one write. Right: each is answered once and in its order, and nobody else
/// waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn attack_a_thousand_pipelined_requests() {
    let server = TestServer::start().await;
    let one = head(
        "GET",
        "/v1/executions?limit=1",
        &[("authorization", &format!("Bearer {}", server.identity.agent_key))],
    );
    let mut stream = TcpStream::connect(address(&server)).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(one.repeat(1_000).as_bytes()).await.unwrap();
        writer
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
    };
    let mut answers = String::new();
    let receive = async {
        reader.read_to_string(&mut answers).await.unwrap();
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(server.approver.get("/v1/freezes").await.0, 200);
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

/// Chunks whose sizes overflow, extensions and trailers without end, a body of one-byte chunks.
/// Right: refused or read exactly; a trailer is never a header.
#[tokio::test(flavor = "multi_thread")]
async fn attack_chunks() {
    let server = TestServer::start().await;
    let bearer = format!("Bearer {}", server.identity.agent_key);
    let start = head(
        "POST",
        "/v1/intents",
        &[("authorization", &bearer), ("transfer-encoding", "chunked")],
    );
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
        let answers = exchange(&server, format!("{start}{body}").as_bytes()).await;
        assert!(statuses(&answers).iter().all(|status| (400..500).contains(status)), "{answers}");
    }
    assert_eq!(texts(&server.agent).await, Vec::<String>::new(), "half of a body was taken");
    // One byte a chunk, and an Idempotency-Key where it is none.
    let chunks: String = own.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
    let start = start.replacen("\r\nhost", "\r\nconnection: close\r\nhost", 1);
    let whole = format!(
        "{start}{chunks}0\r\nidempotency-key: trailer\r\nauthorization: Bearer other\r\n\r\n"
    );
    for _ in 0..2 {
        let answers = exchange(&server, whole.as_bytes()).await;
        assert_eq!(statuses(&answers), [202], "{answers}");
    }
    assert_eq!(
        texts(&server.agent).await,
        ["chunked", "chunked"],
        "a trailer was taken as an idempotency key"
    );
}

/// Bodies that are not JSON in UTF-8, or say that they are something else. Right: refused, and
/// nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn attack_bodies_in_other_encodings() {
    let server = TestServer::start().await;
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
        (
            "UTF-16 with a mark",
            &[("content-type", "application/json")],
            [vec![0xff, 0xfe], utf16].concat(),
        ),
        (
            "a mark",
            &[("content-type", "application/json")],
            [b"\xef\xbb\xbf", own.as_bytes()].concat(),
        ),
        (
            "Latin-1",
            &[("content-type", "application/json; charset=iso-8859-1")],
            b"{\"text\":\"\xe4\"}".to_vec(),
        ),
        ("overlong", &[("content-type", "application/json")], b"{\"text\":\"\xc0\xaf\"}".to_vec()),
        (
            "a surrogate in UTF-8",
            &[("content-type", "application/json")],
            b"{\"text\":\"\xed\xa0\x80\"}".to_vec(),
        ),
        (
            "gzip",
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
            zipped.clone(),
        ),
        ("gzip as identity", &[("content-type", "application/json")], zipped),
        (
            "a form",
            &[("content-type", "application/x-www-form-urlencoded")],
            own.clone().into_bytes(),
        ),
        ("plain text", &[("content-type", "text/plain")], own.clone().into_bytes()),
        (
            "many parts",
            &[("content-type", "multipart/form-data; boundary=x")],
            own.clone().into_bytes(),
        ),
        (
            "two types",
            &[("content-type", "text/plain"), ("content-type", "application/json")],
            own.clone().into_bytes(),
        ),
    ];
    for (name, headers, body) in cases {
        let mut request = server.agent.request("POST", "/v1/intents");
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        let (status, answer) = server.agent.send(request.body(body)).await;
        assert!((400..500).contains(&status), "{name}: {status} {answer}");
        assert!(answer.to_string().len() < 4_000, "{name}: {answer}");
    }
    assert_eq!(texts(&server.agent).await, Vec::<String>::new());
}

/// `Expect: 100-continue` and ten gigabytes announced, without a key and with one. Right: answered
/// before any of it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn attack_ten_gigabytes_announced() {
    let server = TestServer::start().await;
    let bearer = format!("Bearer {}", server.identity.agent_key);
    for (credential, wanted) in [("Bearer nobody", 401), (bearer.as_str(), 413)] {
        for path in ["/v1/intents", "/v1/skills"] {
            let headers = [
                ("authorization", credential),
                ("content-length", "10000000000"),
                ("expect", "100-continue"),
            ];
            let answers = exchange(&server, head("POST", path, &headers).as_bytes()).await;
            assert_eq!(statuses(&answers), [wanted], "{path}: {answers}");
        }
    }
}
