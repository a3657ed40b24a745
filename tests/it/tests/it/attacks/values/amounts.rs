//! Attacks on what a plan may move: amounts, currencies, recipients.

use super::*;

/// Amounts that a tool may read otherwise than we do: nothing is guessed; without a limit people
/// decide, with one it is no.
#[tokio::test(flavor = "multi_thread")]
async fn attack_amounts_that_tools_read_otherwise() {
    let (server, _stub) = server_with(|stub| {
        vec![stub.operation("pay", money("major", json!({ "type": ["number", "string"] })))]
    })
    .await;
    for amount in [
        json!("1e2"),
        json!("+5"),
        json!("-0"),
        json!("-5"),
        json!(-5),
        json!("٤٢"),
        json!("５"),
        json!("NaN"),
        json!("Infinity"),
        json!("0x10"),
        json!("1,000"),
        json!("1.000,00"),
        json!("1 000"),
        json!("5\u{a0}"),
        json!("5\u{200b}"),
        json!("1_0"),
        json!("05"),
        json!("5."),
        json!(".5"),
        json!("five"),
        json!(""),
        json!("9".repeat(40)),
        json!(0.001),
    ] {
        let with = json!({ "amount": amount, "currency": "EUR" });
        let view = verdict(&server, json!({ "steps": one(with.clone()) })).await;
        assert_eq!(view["verdict"], "assist", "{amount}: {view}");
        assert!(
            view["steps"][0]["reasons"].to_string().contains("unmeasured: money"),
            "{amount}: {view}"
        );
        let limited = json!({ "steps": one(with),
            "budget": { "money": { "EUR": 9_007_199_254_740_991_u64 } } });
        assert_eq!(verdict(&server, limited).await["status"], "rejected", "{amount}");
    }
    let view =
        verdict(&server, json!({ "steps": one(json!({ "amount": "5.00", "currency": "EUR" })) }))
            .await;
    assert_eq!(view["verdict"], "autonomous", "{view}");
}

/// Currencies of other exponents, in small letters, of four letters, of look-alikes, of none:
/// counted exactly or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn attack_currencies_that_sidestep_a_budget() {
    let (server, _stub) = server_with(|stub| {
        vec![stub.operation("pay", money("major", json!({ "type": "string" })))]
    })
    .await;
    let with = |amount: &str, currency: Value| json!({ "amount": amount, "currency": currency });
    // 100 in minor units of each: what one more is too much.
    for (currency, fits, over) in [
        ("EUR", "1.00", "1.01"),
        ("eur", "1.00", "1.01"),
        ("Eur", "1", "1.01"),
        ("JPY", "100", "101"),
        ("KWD", "0.100", "0.101"),
        ("CLF", "0.0100", "0.0101"),
    ] {
        let limit = json!({ "money": { currency.to_uppercase(): 100 } });
        let of =
            |amount: &str| json!({ "steps": one(with(amount, json!(currency))), "budget": limit });
        assert_eq!(verdict(&server, of(fits)).await["verdict"], "autonomous", "{currency} {fits}");
        assert_eq!(verdict(&server, of(over)).await["status"], "rejected", "{currency} {over}");
        // A limit in one currency lets no other through.
        let other = json!({ "steps": one(with(fits, json!(currency))),
            "budget": { "money": { "USD": 1_000_000 } } });
        assert_eq!(
            verdict(&server, other).await["status"],
            "rejected",
            "{currency} under a limit of USD"
        );
    }
    for currency in [
        json!("XXX"),
        json!("EURO"),
        json!("ЕUR"),
        json!("ＥＵＲ"),
        json!("EUR "),
        json!("E\u{200b}UR"),
        json!("€"),
        json!(""),
        json!(978),
        json!(["EUR"]),
        json!({ "code": "EUR" }),
        json!(null),
    ] {
        let steps = one(with("1", currency.clone()));
        let view = verdict(&server, json!({ "steps": steps })).await;
        assert_eq!(view["verdict"], "assist", "{currency}: {view}");
        let limited = json!({ "steps": steps, "budget": { "money": { "EUR": 1_000_000 } } });
        assert_eq!(verdict(&server, limited).await["status"], "rejected", "{currency}");
    }
}

/// Recipients in keys, in nested lists, behind display names, comments and other at signs: never
/// fewer than there are.
#[tokio::test(flavor = "multi_thread")]
async fn attack_recipients_that_are_not_counted() {
    let (server, _stub) = server_with(|stub| {
        let radius = json!({ "effect": "idempotent",
            "blastRadius": { "writes": 1, "recipients": "/to" },
            "inputSchema": { "type": "object", "required": ["to"], "properties": { "to": {} } } });
        vec![stub.operation("pay", radius)]
    })
    .await;
    for (to, least) in [
        (json!({ "a@x.org": {}, "b@x.org": {} }), 2),
        (json!({ "a@x.org": [], "b@x.org": null, "c@x.org": true }), 3),
        (json!({ "a@x.org,b@x.org": "x" }), 2),
        (json!([[["a@x.org"], ["b@x.org", ["c@x.org"]]], []]), 3),
        (json!("Doe, Ann <a@x.org>, \"b, c\" <b@x.org>"), 2),
        (json!("a@x.org(b@x.org)c@x.org"), 3),
        (json!("team:a@x.org,b@x.org;"), 2),
        (json!("a@x.org\r\nBcc: b@x.org\r\nCc:c@x.org"), 3),
        (json!("a＠x.org，b＠x.org；c﹫x.org"), 3),
        (json!("a@x.org\u{2028}b@x.org\u{0}c@x.org"), 3),
        (json!("a@xn--x-0ga.org|b@пример.рф"), 2),
        (json!("a@x.org、b@x.org"), 2),
        (json!(["ann;bob", "carl"]), 3),
    ] {
        let of = |limit: u32| {
            json!({ "steps": one(json!({ "to": to })),
            "budget": { "recipients": limit } })
        };
        let view = verdict(&server, of(least - 1)).await;
        assert_eq!(view["status"], "rejected", "{to} within {}: {view}", least - 1);
    }
    let fits = json!({ "steps": one(json!({ "to": ["a@x.org", "b@x.org"] })),
        "budget": { "recipients": 2 } });
    assert_eq!(verdict(&server, fits).await["verdict"], "autonomous");
}
