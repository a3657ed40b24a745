//! INVARIANT (get-never-mutates): whoever looks at a link, or at everything that it leads to,
//! changes nothing. Mail programs, virus scanners and browsers that fetch ahead do so.

use super::kit::{ADA, Page, PeopleFixture, fields};
use std::collections::BTreeSet;

// Everything that a page names: places, sources, targets of forms.
fn named(page: &Page) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mark in ["href=\"", "src=\"", "action=\"", "url("] {
        let mut rest = page.text.as_str();
        while let Some(at) = rest.find(mark) {
            rest = &rest[at + mark.len()..];
            let end = rest.find(['"', ')']).unwrap();
            found.insert(rest[..end].to_owned());
        }
    }
    found
}

#[tokio::test]
async fn attack_a_scanner_that_opens_a_link_a_hundred_times_and_follows_everything() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let before = fixture.stored();
    let first = fixture.get(&link).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for _ in 0..100 {
        let page = fixture.get(&link).await;
        assert_eq!(page.status, 200);
        let head = fixture.open("HEAD", &link).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        for place in named(&page).into_iter().filter(|place| place.starts_with('/')) {
            fixture.get(&place).await;
            fixture.open("HEAD", &place).await;
        }
        // With what a form would carry, and by other methods.
        let query: Vec<String> = fields(&page, "approve", "")
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        fixture.get(&format!("{link}?{}", query.join("&"))).await;
        for method in ["OPTIONS", "PUT", "DELETE", "PATCH"] {
            fixture.open(method, &link).await;
        }
    }
    assert!(fixture.stored() == before, "looking changed something");
    let page = fixture.get(&link).await;
    let decided = fixture.post(&link, &fields(&page, "approve", "")).await;
    assert_eq!((decided.status, decided.header("location")), (303, link.as_str()));
    assert_eq!(fixture.count(&id, "approval.granted").await, 1);
}

#[tokio::test]
async fn attack_a_prefetch_of_a_link_and_a_form_without_its_page() {
    let fixture = PeopleFixture::new().await;
    let (id, _) = fixture.ask().await;
    fixture.relay().await;
    let link = fixture.link(ADA);
    let before = fixture.stored();
    for (header, value) in [("purpose", "prefetch"), ("sec-purpose", "prefetch;prerender")] {
        let request = http::Request::builder().uri(&link).header(header, value);
        let page = fixture.request(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("cache-control"), "no-store", "shown later, it is asked anew");
    }
    let empty = fixture.post(&link, &[("decision".into(), "approve".into())]).await;
    assert_eq!(empty.status, 422, "{}", empty.text);
    assert!(fixture.stored() == before);
    assert_eq!(fixture.count(&id, "approval.granted").await, 0);
}

/// What a page may load, run or be framed by; and where its address may go.
#[tokio::test]
async fn a_link_page_loads_nothing_from_elsewhere_runs_nothing_and_is_framed_by_nobody() {
    let fixture = PeopleFixture::new().await;
    fixture.ask().await;
    fixture.relay().await;
    let page = fixture.get(&fixture.link(ADA)).await;
    for running in ["<script", "onclick", "onload", "onerror", "javascript:", "<iframe"] {
        assert!(!page.text.contains(running), "{running}: {}", page.text);
    }
    for place in named(&page) {
        let own = place.starts_with('/') || place.starts_with('#') || place == "data:,";
        assert!(own && !place.starts_with("//"), "{place}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(page.text.len() < 50 * 1024, "{} bytes", page.text.len());
    assert!(page.text.contains("name=\"viewport\""), "on a phone");
    assert!(page.text.contains("<svg"), "the plan is drawn");
}
