//! Amounts and recipients, counted exactly or not at all.
//!
//! INVARIANT (unmeasured-is-not-small): nothing here rounds, guesses or takes zero for what it
//! cannot read. What is absent, below zero, inexact, too large or of no known currency has no
//! measure, and the caller must treat it as more than any limit.

use crate::currency;
use contracts::manifest::{Money, MoneyUnit};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

/// Most decimal digits of an amount: what fits in 128 bits.
const DIGITS_MAX: usize = 38;

/// The value of a declared measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Measured<T> {
    Known(T),
    /// It depends on values that are not known yet.
    Later,
    /// It cannot be counted.
    Unmeasured,
}

/// Currency in capitals and minor units. `None`: unmeasured.
pub(super) fn money(amount: &Value, code: &str, unit: MoneyUnit) -> Option<(String, u64)> {
    let code = code.to_ascii_uppercase();
    let exponent = currency::exponent(&code)?;
    let shift = match unit {
        MoneyUnit::Minor if amount.is_string() => return None,
        MoneyUnit::Minor => 0,
        MoneyUnit::Major => exponent,
    };
    Some((code, decimal(amount)?.shifted(shift)?))
}

/// The code that a manifest states, where it states one instead of a pointer.
pub(crate) fn stated_currency(money: &Money) -> Option<&str> {
    (!money.currency.starts_with('/')).then_some(money.currency.as_str())
}

/// `digits` × 10^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    // × 10^places, if that is an integer of 64 bits.
    fn shifted(self, places: u32) -> Option<u64> {
        if self.digits == 0 {
            return Some(0);
        }
        let exponent = self.exponent.checked_add(i32::try_from(places).ok()?)?;
        let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
        let units = if exponent >= 0 {
            self.digits.checked_mul(power)?
        } else {
            self.digits.is_multiple_of(power).then_some(self.digits / power)?
        };
        u64::try_from(units).ok()
    }
}

// A number's shortest text is what a tool is sent, so it is what is counted. A text is a decimal as
// people write it: no sign, exponent, group separator, blank or leading zero, which tools read in
// different ways.
fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => {
            let text = number.to_string();
            let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
            let plain = plain(mantissa)?;
            let exponent = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i32>().ok()?;
            Some(Decimal { exponent: plain.exponent.checked_add(exponent)?, ..plain })
        }
        Value::String(text) => plain(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn plain(text: &str) -> Option<Decimal> {
    let (whole, part) =
        text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let led = whole.len() > 1 && whole.starts_with('0');
    if !digits(whole) || led || part.is_some_and(|part| !digits(part)) {
        return None;
    }
    let part = part.unwrap_or_default().trim_end_matches('0');
    if whole.len() + part.len() > DIGITS_MAX {
        return None;
    }
    let exponent = -i32::try_from(part.len()).ok()?;
    Some(Decimal { digits: format!("{whole}{part}").parse().ok()?, exponent })
}

/// How many addresses a value holds: a text those between `,`, `;` and white space, an array or
/// object those of its leaves, and those that its keys are. Where a text has more `@` than such
/// parts, each `@` counts. Compatibility forms of these signs are the same signs. `None`:
/// unmeasured.
pub(super) fn recipients(value: &Value) -> Option<u64> {
    match value {
        Value::Null => None,
        Value::Array(_)
        | Value::Object(_)
        | Value::String(_)
        | Value::Number(_)
        | Value::Bool(_) => Some(leaves(value)),
    }
}

fn leaves(value: &Value) -> u64 {
    match value {
        Value::String(text) => addresses(text),
        Value::Array(items) => items.iter().fold(0, |sum, item| sum.saturating_add(leaves(item))),
        // A list may be written as the keys of an object.
        Value::Object(map) => map.iter().fold(0, |sum: u64, (key, item)| {
            let named = if plain_signs(key).contains('@') { addresses(key) } else { 0 };
            let below = match item {
                // Beside an address no one more.
                Value::Null | Value::Bool(_) | Value::Number(_) if named > 0 => 0,
                other => leaves(other),
            };
            sum.saturating_add(named).saturating_add(below)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

// Full-width and small forms, which a tool may take for the plain ones.
fn plain_signs(text: &str) -> String {
    text.nfkc().collect()
}

fn addresses(text: &str) -> u64 {
    let text = plain_signs(text);
    let between = |c: char| matches!(c, ',' | ';' | '、') || c.is_whitespace();
    let parts = text.split(between).filter(|part| !part.is_empty()).count();
    let signs = text.matches('@').count();
    parts.max(signs).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn unmeasured_is_not_small_amounts() {
        let minor = |value: Value| money(&value, "eur", MoneyUnit::Minor).map(|(_, units)| units);
        assert_eq!(minor(json!(4200)), Some(4200));
        assert_eq!(minor(json!(4200.0)), Some(4200), "an integer of JSON Schema");
        assert_eq!(minor(json!(1e3)), Some(1000));
        for value in [
            json!(99999.5),
            json!(-1),
            json!(-0.0),
            json!("4200"),
            json!(null),
            json!([1]),
            json!(1e30),
        ] {
            assert_eq!(minor(value.clone()), None, "{value}");
        }
        let major = |value: Value, code: &str| {
            money(&value, code, MoneyUnit::Major).map(|(_, units)| units)
        };
        assert_eq!(major(json!(42), "EUR"), Some(4200));
        assert_eq!(major(json!(0.1), "EUR"), Some(10), "never through arithmetic of floats");
        assert_eq!(major(json!(1.15), "USD"), Some(115));
        assert_eq!(major(json!("1.150"), "usd"), Some(115));
        assert_eq!(major(json!("42"), "JPY"), Some(42));
        assert_eq!(major(json!("1.234"), "KWD"), Some(1234));
        assert_eq!(major(json!(1e-2), "EUR"), Some(1));
        assert_eq!(major(json!("184467440737095516.15"), "EUR"), Some(u64::MAX));
        let never = [
            "1.234",
            "-1",
            "+1",
            "1e3",
            "1,000",
            " 1",
            "",
            ".",
            "1.",
            ".5",
            "0x10",
            "١",
            "007",
            "NaN",
            "1_000",
            "184467440737095516.16",
            "999999999999999999999999999999999999999999",
        ];
        for text in never {
            assert_eq!(major(json!(text), "EUR"), None, "{text}");
        }
        assert_eq!(major(json!("1.5"), "JPY"), None, "a yen has no parts");
        for code in ["", "XXX", "E", "EURO", "eur ", "ＥＵＲ", "bitcoin"] {
            assert_eq!(major(json!(1), code), None, "{code}");
        }
    }

    #[test]
    fn recipients_are_counted_one_by_one() {
        let cases = [
            (json!("a@x, b@x; c@x"), Some(3)),
            (json!("a@x\nb@x\u{3000}c@x"), Some(3)),
            (json!("a@x|b@x"), Some(2)),
            (json!("a@x，b@x"), Some(2)),
            (json!("a＠x，b＠x"), Some(2)),
            (json!({ "a@x": {}, "b@x": {} }), Some(2)),
            (json!("everyone"), Some(1)),
            (json!(""), Some(1)),
            (json!(["a@x,b@x", { "to": ["c@x"], "cc": "d@x" }, null]), Some(5)),
            (json!([]), Some(0)),
            (json!(7), Some(1)),
            (json!(null), None),
        ];
        for (value, wanted) in cases {
            assert_eq!(recipients(&value), wanted, "{value}");
        }
    }

    proptest! {
        // The measure of a decimal text is the integer that its digits are, whatever the currency.
        #[test]
        fn amounts_are_exact(units in 0_u64..=u64::MAX,
            code in proptest::sample::select(vec!["EUR", "JPY", "KWD", "CLF"])) {
            let shown = currency::major(units, code).unwrap();
            prop_assert_eq!(money(&json!(shown), code, MoneyUnit::Major),
                Some((code.to_owned(), units)));
            prop_assert_eq!(money(&json!(units), code, MoneyUnit::Minor),
                Some((code.to_owned(), units)));
        }

        // Whatever number it is: counted as at least what it says, or not at all.
        #[test]
        fn a_float_is_never_counted_as_less(amount in proptest::num::f64::ANY) {
            if let Some(number) = serde_json::Number::from_f64(amount)
                && let Some((_, units)) = money(&Value::Number(number), "EUR", MoneyUnit::Major)
            {
                prop_assert!(units as f64 >= amount * 100.0 * (1.0 - 1e-12), "{amount} as {units}");
            }
        }
    }
}
