//! Floods of connections: long polls, slow bodies and headers, unread answers.

use super::*;

/// One agent's key holds more long polls than there are connections. Right: it takes half of what
/// is left at most; a person on a new connection is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_long_polls_take_every_connection() {
    let server = TestServer::start().await;
    server.tools.behave("crm/customer.find", Behaviour::Slow { ms: 8_000 });
    let id = server.submit(json!([find("a")])).await;
    let poll = format!(
        "GET /v1/executions/{id}?waitSeconds=25 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \
         {}\r\n\r\n",
        server.identity.agent_key
    );
    let mut held = Vec::new();
    for _ in 0..PLACES {
        if let Some(mut stream) = connect(&address(&server)).await {
            let _ = stream.write_all(poll.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&server, "long polls").await;
    drop(held);
}

/// One agent's key holds every connection with a body that trickles in, under a light and under a
/// heavy route. Right: as above; and nobody's turn for heavy work passes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_bodies_that_trickle_in() {
    let server = TestServer::start().await;
    let mut held = Vec::new();
    for number in 0..PLACES {
        let path = if number % 2 == 0 { "/v1/intents" } else { "/v1/policies/explain" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: \
             1000\r\n\r\n{{",
            server.identity.agent_key
        );
        if let Some(mut stream) = connect(&address(&server)).await {
            let _ = stream.write_all(head.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&server, "trickling bodies").await;
    let person = fresh(&server, &server.identity.approver_key);
    for path in ["/v1/skills/mail/disable", "/v1/skills/mail/enable"] {
        let begun = Instant::now();
        let (status, answer) = person.post(path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        println!("trickling bodies: {path}: {:?}", begun.elapsed());
    }
    // None of the trickling bodies came to its end meanwhile: nobody waited for their time-out.
    for stream in &mut held {
        let mut byte = [0];
        if let Ok(Ok(count)) = tokio::time::timeout(Duration::ZERO, stream.read(&mut byte)).await {
            assert!(count == 0 || byte[0] == b'H');
        }
    }
    drop(held);
}

/// A stranger without any key holds connections with bodies for the callback of a step, under ever
/// new credentials. Right: refused before the body is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_strangers_bodies_at_the_callback() {
    let server = TestServer::start().await;
    let path = format!("/v1/executions/exe_{}/steps/a/callback", "0".repeat(32));
    let mut held = Vec::new();
    for number in 0..PLACES {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer w{number}\r\ncontent-length: \
             1000000\r\n\r\n{{"
        );
        if let Some(mut stream) = connect(&address(&server)).await {
            let _ = stream.write_all(head.as_bytes()).await;
            held.push(stream);
        }
    }
    a_person_is_heard(&server, "strangers' callbacks").await;
    let mut answered = 0;
    for mut stream in held.into_iter().rev().take(100) {
        let mut head = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut head)).await;
        if read.is_ok_and(|read| read.is_ok()) {
            assert_eq!(&head, b"HTTP/1.1 401");
            answered += 1;
        }
    }
    assert!(answered > 50, "{answered} of 100 were refused at once");
}

/// Two thousand idle connections, half of them in the middle of a header after a request that was
/// answered, each sending a byte now and then. Right: they make room; a person on a new connection
/// is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_headers_that_trickle_in_after_an_answer() {
    let server = TestServer::start().await;
    let mut held = Vec::new();
    for number in 0..2_000 {
        let Some(mut stream) = connect(&address(&server)).await else { continue };
        if number % 2 == 0 {
            let _ = stream
                .write_all(
                    b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nx-a: ",
                )
                .await;
        }
        held.push(stream);
    }
    let (stop, trickled) = (AtomicBool::new(false), AtomicU64::new(0));
    let trickle = async {
        while !stop.load(Ordering::SeqCst) {
            for stream in held.iter_mut().step_by(2) {
                trickled.fetch_add(u64::from(stream.try_write(b"b").is_ok()), Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    };
    let person = async {
        for _ in 0..5 {
            a_person_is_heard(&server, "trickling headers").await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(trickle, person);
    assert!(trickled.load(Ordering::SeqCst) > 1_000);
}

/// Clients that ask for large answers and never read them. Right: nobody else waits, and their
/// connections make room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_answers_that_nobody_reads() {
    let server = TestServer::start().await;
    let text = "x".repeat(15_000);
    for _ in 0..20 {
        server.agent.post("/v1/intents", &json!({ "text": text, "mode": "manual" })).await;
    }
    let get = format!(
        "GET /v1/skills?limit=200 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        server.identity.approver_key
    );
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let Some(mut stream) = connect(&address(&server)).await else { continue };
        let _ = tokio::time::timeout(
            Duration::from_millis(200),
            stream.write_all(get.repeat(20).as_bytes()),
        )
        .await;
        held.push(stream);
    }
    a_person_is_heard(&server, "unread answers").await;
    drop(held);
}

/// Twelve thousand requests, each under another invalid key. Right: each is refused, none locks a
/// valid key out, and what is counted of them is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_keys_that_rotate() {
    let server = TestServer::start().await;
    let before = resident_kib();
    let mut jobs = Vec::new();
    for lane in 0..8 {
        let address = address(&server);
        jobs.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let send = async {
                for number in 0..1_500 {
                    let close = if number == 1_499 { "connection: close\r\n" } else { "" };
                    let one = format!(
                        "GET /v1/executions HTTP/1.1\r\nhost: x\r\n{close}authorization: Bearer \
                         csk_{lane}_{number}\r\n\r\n"
                    );
                    writer.write_all(one.as_bytes()).await.unwrap();
                }
            };
            let mut answers = String::new();
            let receive = async { reader.read_to_string(&mut answers).await.unwrap() };
            tokio::join!(send, receive);
            answers.matches("HTTP/1.1 401").count()
        }));
    }
    a_person_is_heard(&server, "rotating keys").await;
    let mut refused = 0;
    for job in jobs {
        refused += job.await.unwrap();
    }
    assert_eq!(refused, 12_000);
    a_person_is_heard(&server, "after rotating keys").await;
    println!("12,000 invalid keys: {} KiB more than before", resident_kib().saturating_sub(before));
}
