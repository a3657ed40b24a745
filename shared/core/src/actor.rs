//! Canonical ids of actors, so that two texts that look like the same name are the same actor.

use contracts::{event::Actor, limits::ACTOR_ID_BYTES_MAX};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::MixedScript as _;

/// Characters that ids hold beside letters and digits.
const PUNCTUATION: &str = ".-_@:+/=|";
/// Limit of the rounds of folding until the text is stable.
const FOLDS_MAX: usize = 4;

// Default-ignorable, and so invisible, characters among letters and marks (Unicode 16).
const fn invisible(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn allowed(c: char) -> bool {
    (c.is_alphanumeric() || is_combining_mark(c) || PUNCTUATION.contains(c)) && !invisible(c)
}

/// Why a text is not an actor's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActorIdError {
    #[error("an actor's id is 1 to {ACTOR_ID_BYTES_MAX} bytes")]
    Length,
    #[error(
        "an actor's id holds letters, digits and `{PUNCTUATION}`, and neither white space nor \
         `\\u{{{0:04x}}}`"
    )]
    Character(u32),
    #[error(
        "each word of an actor's id is of one script: with letters of several it looks like another"
    )]
    Scripts,
}

/// The canonical form of an actor's id: NFC, lower case, compatibility forms and case variants
/// folded. What people do not see (white space, control and default-ignorable characters) is
/// refused, and so are words of several scripts.
pub fn canonical_id(text: &str) -> Result<String, ActorIdError> {
    if text.is_empty() || text.len() > ACTOR_ID_BYTES_MAX {
        return Err(ActorIdError::Length);
    }
    let mut id = text.to_owned();
    for _ in 0..FOLDS_MAX {
        // Upper case first: `ß`, `ς` and `ſ` are small letters that their capitals do not come back
        // to.
        let capitals: String = id.nfkc().flat_map(char::to_uppercase).collect();
        let folded: String = capitals.chars().flat_map(char::to_lowercase).nfkc().collect();
        if folded == id {
            break;
        }
        id = folded;
    }
    if let Some(c) = text.chars().chain(id.chars()).find(|c| !allowed(*c)) {
        return Err(ActorIdError::Character(c.into()));
    }
    // A combining mark at the start would attach to the text before the id.
    if let Some(c) = id.chars().next().filter(|c| is_combining_mark(*c)) {
        return Err(ActorIdError::Character(c.into()));
    }
    if id.len() > ACTOR_ID_BYTES_MAX {
        return Err(ActorIdError::Length);
    }
    // UTS 39, 5.1: one word is of one script, so that no single letter of another makes it look
    // like another's. Words that look alike as a whole remain.
    if !id.split(|c: char| PUNCTUATION.contains(c)).all(|word| word.is_single_script()) {
        return Err(ActorIdError::Scripts);
    }
    Ok(id)
}

/// An actor with its canonical id.
pub fn canonical(actor: &Actor) -> Result<Actor, ActorIdError> {
    Ok(Actor { kind: actor.kind, id: canonical_id(&actor.id)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authority_ids_that_people_take_for_one_are_one() {
        let is =
            |text: &str, id: &str| assert_eq!(canonical_id(text).as_deref(), Ok(id), "{text:?}");
        is("Mallory", "mallory");
        is("MALLORY@x.org", "mallory@x.org");
        is("zoe\u{308}", "zo\u{eb}");
        is("ＭＡＬＬＯＲＹ", "mallory");
        is("ΟΔΟΣ", "οδοσ");
        is("team/bot-1", "team/bot-1");
        for bad in [
            "",
            "mallory ",
            " mallory",
            "mal lory",
            "mallory\u{200b}",
            "mallory\u{ad}",
            "a\u{0}",
            "a\nb",
            "\u{301}a",
            "a\u{3164}",
            "mallory\u{feff}",
            "mallory\u{202e}",
            "*",
            "a,b",
            "a\u{fe0f}",
            "a\u{34f}",
        ] {
            assert!(canonical_id(bad).is_err(), "{bad:?}");
        }
        assert_eq!(canonical_id("m\u{430}llory"), Err(ActorIdError::Scripts), "a Cyrillic letter");
        assert_eq!(canonical_id(&"a".repeat(129)), Err(ActorIdError::Length));
    }

    proptest! {
            #[test]
            fn authority_canonical_ids_stay_as_they_are(text in "\\PC{0,40}") {
                if let Ok(id) = canonical_id(&text) {
                    prop_assert_eq!(canonical_id(&id), Ok(id.clone()));
                    prop_assert!(!id.chars().any(|c| c.is_whitespace() || c.is_control()));
    if let Ok(capital) = canonical_id(&text.to_uppercase()) {
                        prop_assert_eq!(capital, id);
                    }
                }
            }
        }
}
