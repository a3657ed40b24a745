//! INVARIANT (data-is-never-control): no value in foreign data is read as a marker.

use super::*;

/// A small linear congruential generator: the test needs variety, not unpredictability.
struct Rng(u64);

impl Rng {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn value(&mut self, depth: usize) -> Value {
        const KEYS: [&str; 14] = [
            "$from", "$literal", "$sealed", "$blob", "$input", "path", "seals", "value",
            "__entity", "__extn", "a/b", "~", "", "blob",
        ];
        match self.roll(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(1_000)),
            3 => json!(format!("sha256:{:064x}", self.roll(10))),
            4 => json!(["s0", "/v", "give", "S3CRET"][self.roll(4)]),
            5 => (0..self.roll(3)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members: Map<String, Value> = (0..self.roll(4))
                    .map(|_| (KEYS[self.roll(KEYS.len())].to_owned(), self.value(depth - 1)))
                    .collect();
                members.into()
            }
        }
    }
}

/// The property, through the whole control plane: what the next tool gets is the value, whatever it
/// looks like, from a literal, an output, sensitive or not.
#[tokio::test(flavor = "multi_thread")]
async fn data_is_never_control() {
    let operations = [
        ("give", json!({}), json!({})),
        ("hide", json!({}), json!({ "x-sensitive": true })),
        ("take", free(), free()),
    ];
    let (server, stub) = server(&operations).await;
    let mut dice = Rng(7);
    for _ in 0..60 {
        let (given, hidden, literal) = (dice.value(3), dice.value(3), dice.value(3));
        stub.book.lock().unwrap().answers.clear();
        stub.answers("give", given.clone());
        stub.answers("hide", hidden.clone());
        let id = completed(
            &server,
            json!([{ "id": "give", "use": "kit/give" }, { "id": "hide", "use": "kit/hide" },
            { "id": "take", "use": "kit/take", "with": { "g": { "$from": "give" },
                "h": { "$from": "hide" },
                "l": { "$literal": literal } } }]),
        )
        .await;
        assert_eq!(stub.received("take"), json!({ "g": given, "h": hidden, "l": literal }));
        let (_, trace) =
            server.agent.get(&format!("/v1/executions/{id}/trace?includePayloads=true")).await;
        assert_eq!(trace["payloads"]["give"], given);
        assert_eq!(trace["payloads"]["hide"], Value::Null);
    }
}
