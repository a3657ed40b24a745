//! Currencies of ISO 4217: how many decimal places each has, and amounts as people read them.
//!
//! Measuring and showing use one table, so that the amount shown is the amount counted.

/// Currencies without decimal places.
const PLACES_0: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
    "VUV", "XAF", "XOF", "XPF",
];
/// Currencies with two decimal places.
const PLACES_2: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT",
    "BGN", "BMD", "BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF",
    "CHE", "CHF", "CHW", "CNY", "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP", "DZD",
    "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD",
    "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW",
    "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT",
    "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK",
    "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR",
    "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP",
    "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU",
    "UZS", "VED", "VES", "WST", "XAD", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
];
/// Currencies with three decimal places.
const PLACES_3: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
/// Currencies with four decimal places.
const PLACES_4: &[&str] = &["CLF", "UYW"];

/// Decimal places of a currency, by its code in capitals. `None`: there is no such currency.
pub fn exponent(code: &str) -> Option<u32> {
    let tables: [(&[&str], u32); 4] = [(PLACES_2, 2), (PLACES_0, 0), (PLACES_3, 3), (PLACES_4, 4)];
    tables.into_iter().find(|(codes, _)| codes.contains(&code)).map(|(_, places)| places)
}

/// Every currency's code.
pub fn codes() -> impl Iterator<Item = &'static str> {
    [PLACES_2, PLACES_0, PLACES_3, PLACES_4].into_iter().flatten().copied()
}

/// What is wrong with a currency as somebody wrote it, with the nearest one; nothing, if it exists
/// and stands in capitals.
pub fn fault(code: &str) -> Option<String> {
    if exponent(code).is_some() {
        return None;
    }
    let capitals = code.to_ascii_uppercase();
    if exponent(&capitals).is_some() {
        return Some(format!("`{code}`: currencies are written in capitals: `{capitals}`"));
    }
    let near = crate::suggest::nearest(&capitals, codes());
    Some(format!("`{code}` is no currency of ISO 4217{near}"))
}

/// An amount of minor units in major units, as text: 4200 and `EUR` give `42.00`. `None`: there is
/// no such currency.
pub fn major(minor: u64, code: &str) -> Option<String> {
    let places = exponent(code)?;
    let unit = 10_u64.pow(places);
    if places == 0 {
        return Some(minor.to_string());
    }
    let width = places as usize;
    Some(format!("{}.{:0width$}", minor / unit, minor % unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_in_major_units() {
        let cases = [
            (4200, "EUR", Some("42.00")),
            (5, "USD", Some("0.05")),
            (4200, "JPY", Some("4200")),
            (4200, "KWD", Some("4.200")),
            (1, "CLF", Some("0.0001")),
            (0, "CHF", Some("0.00")),
            (u64::MAX, "EUR", Some("184467440737095516.15")),
            (1, "eur", None),
            (1, "XXX", None),
            (1, "", None),
        ];
        for (minor, code, shown) in cases {
            assert_eq!(major(minor, code).as_deref(), shown, "{minor} {code}");
        }
    }

    #[test]
    fn every_code_stands_once() {
        let all: Vec<&str> = [PLACES_0, PLACES_2, PLACES_3, PLACES_4].concat();
        let distinct: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len());
        assert!(
            all.iter()
                .all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
        );
    }
}
