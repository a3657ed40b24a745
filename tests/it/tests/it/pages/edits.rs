//! The form that changes values of a plan, as a person fills it.

use super::*;

// The fields that a person sees in a form, filled as the page fills them.
fn filled(page: &Seen, action: &str) -> Form {
    let mut form = page.form(action);
    let own = page.text.split("<form").find(|form| form.contains(&format!("{action}\""))).unwrap();
    let own = own.split("</form>").next().unwrap();
    for input in own.split("<input").filter(|input| input.contains("type=\"text\"")) {
        let value = attribute(input, " value").unwrap_or_default();
        form.fields.insert(attribute(input, " name").unwrap(), value);
    }
    form
}

/// A field is cleared, another one is filled, the rest stays as the page had it. Right: what was
/// cleared is the empty text, and a number that was cleared is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_a_plan_is_emptied_and_a_number_is_not() {
    let server = TestServer::start().await;
    let steps = json!([
        { "id": "refund", "use": "payments/refund.create",
            "with": { "customer": "cus_ada", "amount": 4_200, "currency": "EUR" } },
        { "id": "tell", "use": "mail/message.send", "after": ["refund"],
            "with": { "to": ["ada@example.com"], "subject": "hi", "body": "sent" } },
    ]);
    let id = server.submit(steps).await;
    server.until(&id, "blocked").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let page = person.get(&format!("/console/executions/{id}")).await;
    let form = filled(&page, "/edit").with("reason", "no subject");
    assert_eq!(form.fields["literal:tell/subject"], "hi", "{:?}", form.fields);
    assert_eq!(form.fields["literal:refund/amount"], "4200", "{:?}", form.fields);
    let none = person.send(form.clone().with("literal:refund/amount", "")).await;
    assert_eq!(none.status, 422, "{}", none.text);
    assert!(none.text.contains("literal:refund/amount"), "{}", none.text);
    // What the page had no room for is not sent, and stays.
    let mut form = form.with("literal:tell/subject", "").with("literal:refund/amount", "4000");
    form.fields.remove("literal:tell/body");
    let answer = person.send(form).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let view = server.settled(&id).await;
    let open = view["approvals"].as_array().unwrap().last().unwrap();
    let path = format!("/v1/executions/{id}/approvals/{}", open["approvalId"].as_str().unwrap());
    let (_, shown) = server.approver.get(&path).await;
    let changes = json!([
        { "stepId": "refund", "pointer": "/amount", "before": 4_200, "after": 4_000 },
        { "stepId": "tell", "pointer": "/subject", "before": "hi", "after": "" },
    ]);
    assert_eq!(shown["edit"]["changes"], changes, "{shown}");
}
