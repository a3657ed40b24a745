//! A planner's confidence, in basis points.

/// A confidence between 0 and 1 in basis points, truncated: it never rounds up, so 0.84999 is below
/// 0.85. Read from the number's shortest decimal form, because a floating-point product would
/// round.
pub(super) fn floor_bps(confidence: f64) -> u32 {
    let text = confidence.clamp(0.0, 1.0).to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction: String = fraction.chars().chain("0000".chars()).take(4).collect();
    format!("{whole}{fraction}").parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::floor_bps;

    #[test]
    fn a_confidence_never_rounds_up() {
        for (confidence, bps) in [
            (0.0, 0),
            (1.0, 10_000),
            (0.85, 8_500),
            (0.84999, 8_499),
            (0.849_999_999_999, 8_499),
            (0.649_951, 6_499),
            (0.65, 6_500),
            (0.29, 2_900),
            (0.57, 5_700),
            (0.000_09, 0),
            (1e-300, 0),
            (f64::NAN, 0),
            (2.0, 10_000),
        ] {
            assert_eq!(floor_bps(confidence), bps, "{confidence}");
        }
        for bps in 0..=10_000_u32 {
            assert_eq!(floor_bps(f64::from(bps) / 10_000.0), bps);
        }
    }
}
