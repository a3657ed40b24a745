//! What a policy says of itself beside its conditions: `@id`, `@reason`, `@approvers`, `@expires`,
//! `@mandate`.
//!
//! INVARIANT (unknown-names-are-refused): Cedar keeps any annotation and reads none; one that
//! nobody reads would be a rule that its author believes in.

use cedar_policy::Policy;
use contracts::{
    event::Requirement,
    limits::{
        APPROVAL_LIFE_MS_MAX, APPROVER_GROUPS_MAX, APPROVERS_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX,
    },
};
use cs_core::suggest::nearest;
use std::collections::BTreeMap;

/// The annotations that are read.
const KNOWN: &[&str] = &["approvers", "expires", "id", "mandate", "reason"];

/// An annotation that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnnotationError {
    #[error("`@{name}` is no annotation of a policy{near}")]
    Unknown { name: String, near: String },
    #[error("`@{name}` is 1 to {max} bytes of text")]
    Text { name: &'static str, max: usize },
    #[error("`@mandate` is `allowed`, or left out")]
    Mandate,
    #[error("`@expires` is a number and s, m, h or d, at most 30 days")]
    Expires,
    #[error(
        "`@approvers` is a list as `finance:2, security:1`: each group once, 1 to {APPROVERS_MAX} \
         people"
    )]
    Approvers,
}

/// Everything that is wrong with the annotations of a policy.
pub(crate) fn check(policy: &Policy) -> Vec<AnnotationError> {
    let mut errors = Vec::new();
    for (name, value) in policy.annotations() {
        let text = |name, max| {
            let fits = !value.trim().is_empty() && value.len() <= max;
            (!fits).then_some(AnnotationError::Text { name, max })
        };
        match name {
            "id" => errors.extend(text("id", NAME_BYTES_MAX)),
            "reason" => errors.extend(text("reason", REASON_BYTES_MAX)),
            "expires" => {
                errors.extend(expires_ms(value).is_none().then_some(AnnotationError::Expires))
            }
            "mandate" => errors.extend((!mandate(value)).then_some(AnnotationError::Mandate)),
            "approvers" => {
                errors.extend(approvers(value).is_none().then_some(AnnotationError::Approvers))
            }
            other => errors.push(AnnotationError::Unknown {
                name: other.to_owned(),
                near: nearest(other, KNOWN.iter().copied()),
            }),
        }
    }
    errors
}

/// Whether a person may approve beforehand what the policy is about.
pub(crate) fn mandate(text: &str) -> bool {
    text == "allowed"
}

/// `90s`, `15m`, `4h`, `2d`, in milliseconds.
pub(crate) fn expires_ms(text: &str) -> Option<i64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits
        .parse::<i64>()
        .ok()?
        .checked_mul(unit)
        .filter(|ms| (1..=APPROVAL_LIFE_MS_MAX).contains(ms))
}

/// `finance:2,security:1`: how many people of each group.
pub(crate) fn approvers(text: &str) -> Option<BTreeMap<String, u32>> {
    let mut groups = BTreeMap::new();
    for entry in text.split(',') {
        let (group, count) = entry.trim().split_once(':')?;
        let letters =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let named = group.len() <= NAME_BYTES_MAX
            && group.starts_with(|first: char| first.is_ascii_lowercase())
            && group.bytes().all(letters);
        let count = Some(count).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()))?;
        let count: u32 = count.parse().ok()?;
        if !named
            || !(1..=APPROVERS_MAX).contains(&count)
            || groups.insert(group.to_owned(), count).is_some()
        {
            return None;
        }
    }
    Some(groups).filter(|groups| groups.len() <= APPROVER_GROUPS_MAX)
}

/// Whom `@approvers` asks for, the most of each group, as it stands in a verdict.
pub(crate) fn requirement(groups: BTreeMap<String, u32>) -> Vec<Requirement> {
    groups.into_iter().map(|(group, count)| Requirement { group, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(annotation: &str) -> Vec<String> {
        let text = format!("{annotation} permit (principal, action, resource);");
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        set.policies().flat_map(check).map(|error| error.to_string()).collect()
    }

    #[test]
    fn what_can_be_honoured_is_taken() {
        assert!(
            errors("@id(\"a\") @reason(\"b\") @expires(\"4h\") @approvers(\"approvers:1\")")
                .is_empty()
        );
        assert_eq!(expires_ms("30d"), Some(APPROVAL_LIFE_MS_MAX));
        assert_eq!(
            approvers(" finance:2,security:1 ").unwrap().into_iter().collect::<Vec<_>>(),
            [("finance".to_owned(), 2), ("security".to_owned(), 1)]
        );
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        assert_eq!(
            errors("@expire(\"4h\")"),
            ["`@expire` is no annotation of a policy; did you mean `expires`?"]
        );
        assert_eq!(errors("@approver(\"x:1\")").len(), 1);
        assert!(errors("@Reason(\"x\")")[0].contains("did you mean `reason`"));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for text in [
            "",
            "soon",
            "0h",
            "-4h",
            "+4h",
            "31d",
            "4",
            "4 h",
            "4w",
            "99999999999999999999d",
            "４h",
        ] {
            assert_eq!(expires_ms(text), None, "{text}");
        }
        for text in [
            "",
            "finance",
            "finance:",
            ":2",
            "finance:0",
            "finance:+1",
            "finance:1000",
            "Finance:1",
            "a:1,a:2",
            "a:1,",
            "a:1;b:2",
        ] {
            assert_eq!(approvers(text), None, "{text}");
            assert_eq!(errors(&format!("@approvers(\"{text}\")")).len(), 1, "{text}");
        }
        assert_eq!(errors("@id(\"\")").len(), 1);
        for text in ["", "yes", "Allowed", "allowed "] {
            assert_eq!(errors(&format!("@mandate(\"{text}\")")).len(), 1, "{text}");
        }
        assert!(errors("@mandate(\"allowed\")").is_empty());
        assert_eq!(errors("@reason").len(), 1);
    }
}
