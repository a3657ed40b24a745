//! Amounts and recipients as the simulated tools count them, by the contract and without the code
//! under test: what the contract calls unmeasured is `None` here.

use serde_json::Value;

/// What one call moves: minor units of a currency, and how many are addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    pub money: Option<(String, u128)>,
    pub recipients: Option<u64>,
}

/// What the input of a call moves. `major`: the amount counts the currency itself, else its
/// smallest unit.
pub fn moves(input: &Value, major: bool) -> Moves {
    let money = input.get("amount").zip(input.get("currency").and_then(Value::as_str));
    let money = money.and_then(|(amount, currency)| {
        let currency = currency.to_ascii_uppercase();
        let places = match currency.as_str() {
            "EUR" | "USD" => 2,
            "JPY" => 0,
            "KWD" => 3,
            _ => return None,
        };
        Some((currency, units(amount, if major { places } else { 0 })?))
    });
    Moves { money, recipients: input.get("to").and_then(recipients) }
}

// × 10^places, where that is a whole number that is not negative.
fn units(amount: &Value, places: i32) -> Option<u128> {
    let text = match amount {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) if amount.is_number() => {
            (mantissa, exponent.parse::<i32>().ok()?)
        }
        Some(_) => return None,
        None => (text.as_str(), 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if whole.is_empty()
        || mantissa.ends_with('.')
        || digits.len() > 30
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (digits, shift) = (digits.parse::<u128>().ok()?, exponent - part.len() as i32 + places);
    match (digits, shift) {
        (0, _) => Some(0),
        (_, 0..=20) => digits.checked_mul(10_u128.pow(shift as u32)),
        (_, -30..0) => {
            let power = 10_u128.pow(shift.unsigned_abs());
            (digits % power == 0).then_some(digits / power)
        }
        _ => None,
    }
}

fn recipients(to: &Value) -> Option<u64> {
    let count = |to: &Value| match to {
        Value::String(text) => {
            let parts = text.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
            parts.filter(|part| !part.is_empty()).count().max(1) as u64
        }
        Value::Array(items) => items.iter().filter_map(recipients).sum(),
        Value::Object(items) => items.values().filter_map(recipients).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    };
    (!to.is_null()).then(|| count(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_counted_is_not_counted() {
        let eur =
            |amount: Value| moves(&json!({ "amount": amount, "currency": "eur" }), true).money;
        let minor = |units: u128| Some(("EUR".to_owned(), units));
        assert_eq!(eur(json!(12.5)), minor(1_250));
        assert_eq!(eur(json!("0.10")), minor(10));
        assert_eq!(eur(json!(1e3)), minor(100_000));
        for amount in [
            json!(0.1 + 0.2),
            json!("1.005"),
            json!(-5),
            json!("12,50"),
            json!("1e3"),
            json!(null),
            json!(""),
        ] {
            assert_eq!(eur(amount.clone()), None, "{amount}");
        }
        assert_eq!(moves(&json!({ "amount": 1, "currency": "XTS" }), true).money, None);
        assert_eq!(moves(&json!({ "currency": "EUR" }), true).money, None);
        let to = |to: Value| moves(&json!({ "to": to }), true).recipients;
        assert_eq!(to(json!("a@x, b@x; c@x")), Some(3));
        assert_eq!(to(json!({ "to": ["a@x"], "cc": "b@x c@x" })), Some(3));
        assert_eq!(to(json!(null)), None);
    }
}
