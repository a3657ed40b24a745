//! Policy templates: the baseline, and common rules to add to it.

/// The policy set a workspace starts with.
pub const BASELINE: &str = include_str!("../../../infra/policies/baseline.cedar");

/// Every template by its name.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("baseline", BASELINE),
    ("business-hours", include_str!("../../../infra/policies/templates/business-hours.cedar")),
    ("few-recipients", include_str!("../../../infra/policies/templates/few-recipients.cedar")),
    (
        "no-untrusted-writes",
        include_str!("../../../infra/policies/templates/no-untrusted-writes.cedar"),
    ),
    ("people-only", include_str!("../../../infra/policies/templates/people-only.cedar")),
    ("spending-limit", include_str!("../../../infra/policies/templates/spending-limit.cedar")),
];
