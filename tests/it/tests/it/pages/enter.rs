//! Enter in a text field sends a form by its first button.

use super::*;
use std::{fs, path::Path};

/// Buttons that Enter in a field beside them may press: what they do is undone as easily, decides
/// nothing, or is what was typed for.
const BY_ENTER: &[&str] = &["Reject", "Say it", "Freeze", "Judge it", "Sign in", "Go on"];

fn forms_of(text: &str) -> Vec<&str> {
    let forms = text.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap());
    forms.collect()
}

// What the first button says that can be pressed; none: Enter sends nothing.
fn default_button(form: &str) -> Option<&str> {
    let first = form.split("<button").nth(1)?;
    let (tag, rest) = first.split_once('>')?;
    (!tag.contains("disabled")).then(|| rest.split('<').next().unwrap().trim())
}

fn has_field(form: &str) -> bool {
    ["text", "number", "search", "password"]
        .iter()
        .any(|kind| form.contains(&format!("type=\"{kind}\"")))
}

/// A reason is typed and Enter pressed. Right: no form that has a field is sent by a button that
/// approves, or that does what nobody can undo.
#[test]
fn attack_enter_in_a_field_approves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    let mut looked_at = 0;
    for function in fs::read_dir(root).unwrap() {
        let Ok(templates) = fs::read_dir(function.unwrap().path().join("templates")) else {
            continue;
        };
        for template in templates {
            let path = template.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("{{ pages::NO_ENTER }}", &pages::NO_ENTER.to_string());
            for form in forms_of(&text) {
                if !form.contains("method=\"post\"") || !has_field(form) {
                    continue;
                }
                looked_at += 1;
                let button = default_button(form);
                let fine =
                    button.is_none_or(|says| BY_ENTER.iter().any(|one| says.starts_with(one)));
                assert!(fine, "{}: Enter presses {button:?}", path.display());
            }
        }
    }
    assert!(looked_at > 8, "{looked_at}");
}

/// The same of pages as they are sent: of one request, and of several.
#[tokio::test(flavor = "multi_thread")]
async fn attack_enter_in_a_field_approves_several() {
    let server = TestServer::start().await;
    let id = refund(&server.agent, &server, "Refund Ada").await;
    refund(&server.agent, &server, "Refund Ada again").await;
    let mut person = Browser::signed_in(&server, &server.identity.approver_key).await;
    let one = person.get(&format!("/console/executions/{id}")).await;
    let several = super::several::ticked(&mut person).await;
    for (page, approves) in [(&one, "approve"), (&several, "value=\"approve\"")] {
        let forms = forms_of(&page.text).into_iter().filter(|form| has_field(form));
        let approving: Vec<&str> = forms.filter(|form| form.contains(approves)).collect();
        assert!(!approving.is_empty(), "{}", page.text);
        for form in approving {
            assert!(default_button(form).is_none(), "{form}");
        }
    }
    // A reason is for rejecting alone.
    let reject = several.text.split("value=\"reject\"").nth(1).unwrap();
    assert!(reject.split("</form>").next().unwrap().contains("required"), "{}", several.text);
}
