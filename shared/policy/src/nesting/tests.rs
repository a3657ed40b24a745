//! Texts made to exhaust the stack.

use super::*;
use crate::{BASELINE, TEMPLATES, policy_set::parse};

fn rule(condition: &str) -> String {
    format!("permit (principal, action, resource) when {{ {condition} }};")
}

/// Conditions of a depth, of every kind that nests.
fn kinds(depth: usize) -> Vec<(&'static str, String)> {
    let around = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    vec![
        ("parentheses", around("(", "true", ")")),
        ("sets", around("[", "1", "]") + " == 1"),
        ("records", around("{a:", "1", "}") + " == 1"),
        ("mixed", around("([", "true", "])") + " == 1"),
        ("not", around("!", "true", "")),
        ("spaced not", around("! ", "true", "")),
        ("not in parentheses", around("!(", "true", ")")),
        ("minus", around("-", "1", "") + " == 1"),
        ("minus in parentheses", around("-(", "1", ")") + " == 1"),
        ("and", around("true && ", "true", "")),
        ("or", around("true || ", "true", "")),
        ("plus", around("1 + ", "1", "") + " == 1"),
        ("less", around("1 - ", "1", "") + " == 1"),
        ("times", around("1 * ", "1", "") + " == 1"),
        ("if", around("if true then true else ", "true", "")),
        ("if in condition", around("if ", "true", " then true else true")),
        ("if in then", around("if true then ", "true", " else true")),
        ("attributes", format!("context{} == 1", ".a".repeat(depth))),
        ("indexes", format!("context{} == 1", "[\"a\"]".repeat(depth))),
        ("has", format!("context has a{}", ".a".repeat(depth))),
        ("calls", around("[1].contains(", "1", ")")),
        ("call chain", format!("context{}", ".contains(1)".repeat(depth))),
        ("functions", around("decimal(", "\"1.0\"", ")") + " == 1"),
        ("unclosed", "(".repeat(depth)),
        ("closed", ")".repeat(depth)),
        ("conditions", format!("true }}{} when {{ true", " when { true }".repeat(depth))),
        ("compared", around("1 == ", "1", "")),
        ("in", around("principal in ", "principal", "")),
        ("is", format!("principal is {}", "A::".repeat(depth) + "A")),
        ("entity", format!("principal == {}\"x\"", "A::".repeat(depth))),
        ("like", around("context.a like \"x\" && ", "true", "")),
    ]
}

/// On a thread with as little stack as a worker has.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn bounded_work_ten_thousand_levels_of_each_kind_are_refused_or_read() {
    on_a_small_stack(|| {
        for (kind, condition) in kinds(10_000) {
            let text = rule(&condition);
            let _ = parse(&text);
            let flat = matches!(kind, "closed" | "is" | "entity");
            assert!(flat || check_nesting(&text).is_err(), "{kind}");
        }
    });
}

// What passes is parsed, validated and evaluated on a small stack, in a build that uses the most.
#[test]
fn bounded_work_what_is_as_deep_as_allowed_fits_a_small_stack() {
    on_a_small_stack(|| {
        for (kind, _) in kinds(1) {
            let of =
                |depth: usize| kinds(depth).into_iter().find(|(name, _)| *name == kind).unwrap().1;
            let deepest =
                (1..400).take_while(|depth| check_nesting(&rule(&of(*depth))).is_ok()).last();
            let Some(deepest) = deepest else { continue };
            let text = rule(&of(deepest));
            let _ = crate::validate(&text, &Default::default(), &[]);
            let _ = crate::CompiledPolicySet::new(&text, "1", &Default::default());
        }
    });
}

#[test]
fn the_sample_of_150_parentheses_is_refused_by_name() {
    let text = rule(&format!("{}true{}", "(".repeat(150), ")".repeat(150)));
    assert_eq!(check_nesting(&text), Err(TooDeepError::Brackets { line: 1 }));
    let issues = crate::validate(&text, &Default::default(), &[]);
    assert_eq!(issues[0].code.as_deref(), Some("POLICY_NESTED_TOO_DEEPLY"));
    assert!(issues[0].message.contains("deeper than"), "{issues:?}");
}

#[test]
fn what_people_write_is_not_deep() {
    assert_eq!(check_nesting(BASELINE), Ok(()));
    for (_, text) in TEMPLATES {
        assert_eq!(check_nesting(text), Ok(()));
    }
    let many = (0..POLICY_DEPTH_MAX - 5)
        .map(|n| format!("context.input.to == \"{n}\""))
        .collect::<Vec<_>>()
        .join(" || ");
    assert_eq!(check_nesting(&rule(&many)), Ok(()));
    let names = (0..10_000).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    assert_eq!(check_nesting(&rule(&format!("[{names}].contains(context.input.to)"))), Ok(()));
    let sets = rule("true").repeat(10_000);
    assert_eq!(check_nesting(&sets), Ok(()));
    let texts = rule(
        "context.input.to == \"((((\\\"((((((((((((((((((((((((((((((((((((((((((((((((((((((((\"",
    );
    assert_eq!(check_nesting(&format!("// {}\n{texts}", "(".repeat(1_000))), Ok(()));
}
