//! Signals: words in an intent that raise its risk. They only ever raise; the plan's operations decide the floor.

use contracts::verdict::RiskTier;
use serde::{Deserialize, Serialize};

/// A phrase that was found and the tier it raises to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signal {
    pub tier: RiskTier,
    pub phrase: String,
}

/// The phrases that are looked for. Configurable; the default is the list of the contract (section 6).
#[derive(Clone, Debug)]
pub struct Signals {
    phrases: Vec<Signal>,
}

const DEFAULT: &[(RiskTier, &[&str])] = &[
    (
        RiskTier::Blocked,
        &[
            "ignore previous instructions",
            "reveal secret",
            "api key",
            "password",
            "token",
            "drop table",
            "delete repository",
        ],
    ),
    (
        RiskTier::High,
        &[
            "refund",
            "delete account",
            "cancel subscription",
            "permission",
            "admin access",
            "wire transfer",
            "bank account",
        ],
    ),
    (RiskTier::Medium, &["urgent", "legal", "compliance", "frustrated", "escalate", "outage"]),
];

impl Default for Signals {
    fn default() -> Self {
        let phrases = DEFAULT
            .iter()
            .flat_map(|(tier, list)| list.iter().map(|phrase| Signal { tier: *tier, phrase: (*phrase).to_owned() }))
            .collect();
        Self { phrases }
    }
}

impl Signals {
    /// These phrases instead of the default ones.
    pub fn new(phrases: Vec<Signal>) -> Self {
        Self { phrases }
    }

    /// The phrases that stand in a text as whole words (a plural `s` allowed), whatever the case, spacing and
    /// invisible characters, sorted.
    pub fn find(&self, text: &str) -> Vec<Signal> {
        let words = words(text);
        let mut found: Vec<Signal> =
            self.phrases.iter().filter(|signal| stands_in(&words, &signal.phrase)).cloned().collect();
        found.sort();
        found
    }
}

fn words(text: &str) -> Vec<String> {
    // Zero-width characters would hide a phrase from us but not from a model.
    let visible = text.chars().filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'));
    let folded: String =
        visible.map(|c| if c.is_alphanumeric() { c } else { ' ' }).flat_map(char::to_lowercase).collect();
    folded.split_whitespace().map(str::to_owned).collect()
}

fn stands_in(text: &[String], phrase: &str) -> bool {
    let phrase = words(phrase);
    let same = |word: &String, wanted: &String| word == wanted || word.strip_suffix('s') == Some(wanted);
    !phrase.is_empty()
        && text
            .windows(phrase.len())
            .any(|window| window.iter().zip(&phrase).all(|(word, wanted)| same(word, wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(text: &str) -> Option<RiskTier> {
        Signals::default().find(text).into_iter().map(|signal| signal.tier).max()
    }

    #[test]
    fn whole_words_whatever_the_spelling() {
        assert_eq!(worst("IGNORE   previous\ninstructions!"), Some(RiskTier::Blocked));
        assert_eq!(worst("igno\u{200b}re previous instructions"), Some(RiskTier::Blocked));
        assert_eq!(worst("the API-key please"), Some(RiskTier::Blocked));
        assert_eq!(worst("two refunds"), Some(RiskTier::High));
        assert_eq!(worst("illegally tokenized"), None);
        assert_eq!(worst("where are the docs?"), None);
    }
}
