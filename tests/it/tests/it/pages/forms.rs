//! Forms: where they come from, what they carry, and what every page has around it.

use super::*;
use countersign_it::fixture::Customers;

/// A form of a page of another site, with the person's cookie. Right: refused, whatever it says of
/// where it comes from, and without the token of that session's own page.
#[tokio::test(flavor = "multi_thread")]
async fn attack_csrf() {
    let server = TestServer::start().await;
    let key = server.identity.approver_key.clone();
    let mut person = Browser::signed_in(&server, &key).await;
    let mut other = Browser::signed_in(&server, &key).await;
    let page = person.get("/console/freezes").await;
    let form = page.form("/console/freezes").with("scope", "workspace").with("frozen", "true");
    let foreign = other.get("/console/freezes").await.form("/console/freezes");
    assert_ne!(form.fields["csrf"], foreign.fields["csrf"], "each session has its own");

    let mut missing = form.clone();
    missing.fields.remove("csrf");
    let forged = form.clone().with("csrf", &"0".repeat(64));
    let of_other = form.clone().with("csrf", &foreign.fields["csrf"]);
    let half = form.clone().with("csrf", &form.fields["csrf"][..32]);
    for form in [missing, forged, of_other, half] {
        assert_eq!(person.send(form).await.status, 403);
    }
    let own = person.origin.clone();
    for (origin, site) in [
        (Some("https://evil.example".to_owned()), None),
        (Some("null".to_owned()), None),
        (own.clone().map(|own| format!("{own}.evil.example")), None),
        (own.clone(), Some("cross-site")),
        (own.clone(), Some("same-site")),
        (Some("https://evil.example".to_owned()), Some("same-origin")),
        (None, Some("none")),
        (None, None),
    ] {
        (person.origin, person.site) = (origin.clone(), site);
        let answer = person.send(form.clone()).await;
        assert_eq!(answer.status, 403, "{origin:?} {site:?}: {}", answer.text);
    }
    let (_, freezes) = server.approver.get("/v1/freezes").await;
    assert_eq!(freezes["items"], json!([]), "nothing was frozen by any of them");
    // As the person's own browser sends it, it is done; browsers of two kinds say where from.
    for (origin, site, frozen) in
        [(own.clone(), None, "true"), (None, Some("same-origin"), "false")]
    {
        (person.origin, person.site) = (origin, site);
        let answer = person.send(form.clone().with("frozen", frozen).with("once", frozen)).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/console/freezes?done=console.freeze"),
            "{}",
            answer.text
        );
    }
}

/// A form in other clothes: JSON, several parts, fields twice, fields that are none. Right:
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn attack_forms_in_other_clothes() {
    let server = TestServer::start().await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get("/console/freezes").await;
    let csrf = page.form("/console/freezes").fields["csrf"].clone();
    let cookie = format!("{}={}", person.named("session"), person.session());
    let send = |kind: &'static str, body: String, query: &'static str| {
        let request = countersign_it::http()
            .post(format!("{}/console/freezes{query}", server.url()))
            .header("cookie", cookie.clone())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", kind)
            .body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let form = "application/x-www-form-urlencoded";
    let right = format!("csrf={csrf}&scope=workspace&frozen=true");
    for (kind, body, query, wanted) in [
        ("application/json", right.clone(), "", 400),
        ("text/plain", right.clone(), "", 400),
        ("multipart/form-data; boundary=x", right.clone(), "", 400),
        (form, format!("{right}&frozen=false"), "", 400),
        (form, format!("{right}&unknown=1"), "", 422),
        (form, format!("{right}&workspaceId=other"), "", 422),
        (form, format!("csrf={csrf}&scope=workspace&frozen=maybe"), "", 422),
        (form, format!("csrf={csrf}&scope=%ff&frozen=true"), "", 400),
        (form, right.clone(), "?scope=skill", 422),
        (form, format!("{right}&reason={}", "a".repeat(2_000_000)), "", 413),
    ] {
        let status = send(kind, body, query).await;
        assert_eq!(status, wanted, "{kind} {query}");
    }
    let (_, freezes) = server.approver.get("/v1/freezes").await;
    assert_eq!(freezes["items"], json!([]));
}

/// A page in a frame, or its resources elsewhere. Right: headers of every answer, whatever it is,
/// keep browsers from it; a page is at most 50 KB, and asks for nothing that is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn attack_clickjacking_and_what_headers_every_page_has() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let mut stranger = Browser::new(&server);
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(views(&id));
    paths.push("/console/sign-in".into());
    paths.push("/console/executions/exe_00000000000000000000000000000000".into());
    paths.push(format!("/console/assets/{}", pages::STYLE.name));
    for path in &paths {
        for seen in [person.get(path).await, stranger.get(path).await] {
            let policy = seen.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
            for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            for (name, value) in [
                ("x-frame-options", "DENY"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(seen.header(name), value, "{path}");
            }
            let asset = path.contains("/assets/");
            assert_eq!(seen.header("cache-control").contains("no-store"), !asset, "{path}");
            assert!(seen.text.len() <= 50_000, "{path}: {} bytes", seen.text.len());
            for outside in ["src=\"http", "href=\"http", "style=\"", "onclick", "<iframe"] {
                assert!(!seen.text.contains(outside), "{path}: {outside}");
            }
        }
    }
    // Cookies: no script reads them, no other site sends them; to others than this machine itself
    // they go encrypted, under a name that no neighbour can set.
    let mut fresh = Browser::new(&server);
    let cookie = fresh.get("/console/sign-in").await.header("set-cookie").to_owned();
    let own = fresh.named("visitor");
    assert!(cookie.starts_with(&format!("{own}=")), "{cookie}");
    assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let elsewhere = countersign_it::http()
        .get(format!("{}/console/sign-in", server.url()))
        .header("host", "console.example.com")
        .send()
        .await
        .unwrap();
    let cookie = elsewhere.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(&format!("__Host-{own}=")) && cookie.contains("; Secure"));
}

/// Whoever fetches pages (scanner, prefetch, preview) follows every link. Right: no byte of the
/// store changes.
#[tokio::test(flavor = "multi_thread")]
async fn attack_get_and_head_of_every_page_change_nothing() {
    let InMemory { table, fixture, browser: mut person } =
        InMemory::start(Arc::new(Customers)).await;
    let refund = json!([{ "id": "r", "use": "payments/refund.create",
        "with": { "customer": "cus_1", "amount": 5, "currency": "EUR" } }]);
    let id = fixture.submit(refund).await;
    fixture.drive(&id).await;
    let mut paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(views(id.as_str()));
    let mut found = Vec::new();
    let before = table.dump();
    for path in &paths {
        for method in ["GET", "HEAD"] {
            let seen = person.ask(method, path).await;
            assert_eq!(seen.status, 200, "{method} {path}: {}", seen.text);
            let links = seen.text.split("href=\"").skip(1);
            let links = links.filter_map(|link| link.split('"').next());
            found.extend(links.filter(|link| link.starts_with('/')).map(str::to_owned));
            let actions = seen.text.split("action=\"").skip(1);
            found.extend(actions.filter_map(|to| to.split('"').next()).map(str::to_owned));
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "{found:?}");
    for path in &found {
        person.get(&path.replace("&#38;", "&")).await;
    }
    assert!(table.dump() == before, "a look changed something");
}
