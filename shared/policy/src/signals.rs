//! Signals: phrases in an intent that raise its risk tier. They never lower it; the plan's
//! operations set the minimum.

use crate::fold::{folded, is_invisible, readings};
use contracts::{
    Issue,
    governance::RiskPhrase,
    limits::{RISK_PHRASE_BYTES_MAX, RISK_PHRASE_WORDS_MAX, RISK_PHRASES_MAX},
    verdict::RiskTier,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// A phrase that was found and the tier it raises to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signal {
    pub tier: RiskTier,
    pub phrase: String,
}

/// Stands in a phrase for up to [`GAP_WORDS_MAX`] words of any kind.
const GAP: &str = "*";
/// Words that one `*` stands for.
const GAP_WORDS_MAX: usize = 3;
/// Filler words: skipped between two words of a phrase.
const FILLERS: &[&str] = &[
    "a", "all", "an", "any", "every", "her", "his", "its", "me", "my", "of", "our", "please",
    "that", "the", "their", "these", "this", "those", "us", "your",
];
/// Limit of the fillers skipped between two words of a phrase.
const FILLERS_MAX: usize = 3;

/// The list of the contract (section 6), of which single words that stand in harmless sentences too
/// (`password`, `token`) are made phrases. A workspace sets its own.
const DEFAULT: &[(RiskTier, &[&str])] = &[
    (
        RiskTier::Blocked,
        &[
            "ignore * previous * instructions",
            "ignore * prior * instructions",
            "ignore * above * instructions",
            "ignore your instructions",
            "disregard * previous * instructions",
            "disregard * prior * instructions",
            "disregard your instructions",
            "forget * previous * instructions",
            "override * previous * instructions",
            "reveal * secret",
            "reveal * password",
            "reveal * token",
            "reveal * credentials",
            "reveal * system prompt",
            "print * secret",
            "print * password",
            "print * token",
            "show * secret",
            "show me * password",
            "show me * token",
            "tell me * secret",
            "tell me * password",
            "what is * password",
            "what are * passwords",
            "leak * password",
            "dump * passwords",
            "secret token",
            "access token",
            "bearer token",
            "session token",
            "api token",
            "api key",
            "admin password",
            "root password",
            "master password",
            "user password",
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

/// The phrases of the contract's list.
pub fn default_phrases() -> Vec<RiskPhrase> {
    let list = |(tier, phrases): &(RiskTier, &[&str])| {
        let tier = *tier;
        phrases
            .iter()
            .map(|phrase| RiskPhrase { tier, phrase: (*phrase).to_owned() })
            .collect::<Vec<_>>()
    };
    DEFAULT.iter().flat_map(list).collect()
}

/// A part of a phrase.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Word(String),
    Gap,
}

#[derive(Debug)]
struct Pattern {
    signal: Signal,
    /// Begins and ends with a word.
    parts: Vec<Part>,
    /// All its words in one.
    whole: String,
}

/// The phrases that are looked for, ready to be found.
#[derive(Debug)]
pub struct RiskPhrases {
    patterns: Vec<Pattern>,
    /// By the first letter of a pattern, those that begin with it.
    by_letter: HashMap<char, Vec<usize>>,
    fillers: BTreeSet<String>,
}

impl Default for RiskPhrases {
    fn default() -> Self {
        Self::new(&default_phrases())
    }
}

/// What is wrong with a list of phrases. Empty: nothing.
pub fn check_phrases(phrases: &[RiskPhrase]) -> Vec<Issue> {
    let mut issues = Vec::new();
    if phrases.len() > RISK_PHRASES_MAX {
        issues.push(Issue::new("/phrases", format!("at most {RISK_PHRASES_MAX} phrases")));
    }
    let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
    for (index, phrase) in phrases.iter().enumerate().take(RISK_PHRASES_MAX) {
        let at = format!("/phrases/{index}/phrase");
        let parts = parts(&phrase.phrase);
        let words = parts.iter().filter(|part| **part != Part::Gap).count();
        let outer = [parts.first(), parts.last()].contains(&Some(&Part::Gap));
        if phrase.phrase.len() > RISK_PHRASE_BYTES_MAX
            || words == 0
            || parts.len() > RISK_PHRASE_WORDS_MAX
        {
            let message = format!(
                "1 to {RISK_PHRASE_WORDS_MAX} words, at most {RISK_PHRASE_BYTES_MAX} bytes"
            );
            issues.push(Issue::new(at, message));
        } else if outer {
            issues.push(Issue::new(at, "`*` stands between two words"));
        } else if !seen.insert(parts.iter().map(|part| format!("{part:?}")).collect()) {
            issues.push(Issue::new(at, "it stands in the list already"));
        }
        if phrase.tier == RiskTier::Low {
            issues.push(Issue::new(
                format!("/phrases/{index}/tier"),
                "`medium`, `high` or `blocked`: a phrase raises",
            ));
        }
    }
    issues
}

fn parts(phrase: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for word in phrase.split_whitespace() {
        if word == GAP {
            if parts.last() != Some(&Part::Gap) {
                parts.push(Part::Gap);
            }
        } else {
            let [cut, _] = readings(&folded(word));
            parts.extend(cut.into_iter().map(Part::Word));
        }
    }
    parts
}

impl RiskPhrases {
    /// These phrases. Those that [`check_phrases`] refuses are left out.
    pub fn new(phrases: &[RiskPhrase]) -> Self {
        let pattern = |phrase: &RiskPhrase| {
            let parts = parts(&phrase.phrase);
            let (Some(Part::Word(_)), Some(Part::Word(_))) = (parts.first(), parts.last()) else {
                return None;
            };
            let whole = parts.iter().map(|part| match part {
                Part::Word(word) => word.as_str(),
                Part::Gap => "",
            });
            Some(Pattern {
                signal: Signal { tier: phrase.tier, phrase: name(&phrase.phrase) },
                whole: whole.collect(),
                parts,
            })
        };
        let patterns: Vec<Pattern> = phrases.iter().filter_map(pattern).collect();
        let mut by_letter: HashMap<char, Vec<usize>> = HashMap::new();
        for (index, pattern) in patterns.iter().enumerate() {
            if let Some(Part::Word(word)) = pattern.parts.first() {
                by_letter.entry(word.chars().next().unwrap_or_default()).or_default().push(index);
            }
        }
        Self { patterns, by_letter, fillers: FILLERS.iter().map(|filler| folded(filler)).collect() }
    }

    /// The names under which phrases are found, as policies see them in `context.signals`.
    pub fn names(&self) -> BTreeSet<String> {
        self.patterns.iter().map(|pattern| pattern.signal.phrase.clone()).collect()
    }

    /// The phrases that stand in a text as whole words (a plural `s` allowed), however they are
    /// spelled, sorted.
    pub fn find(&self, text: &str) -> Vec<Signal> {
        let mut found = BTreeSet::new();
        self.find_into(text, &mut found);
        found.into_iter().collect()
    }

    /// The same in every text of several, and in every text and key of values.
    pub fn find_in<'v>(
        &self,
        texts: impl IntoIterator<Item = &'v str>,
        values: impl IntoIterator<Item = &'v Value>,
    ) -> Vec<Signal> {
        let mut found = BTreeSet::new();
        texts.into_iter().for_each(|text| self.find_into(text, &mut found));
        // An explicit stack instead of recursion: the depth of a value is not trusted.
        let mut open: Vec<&Value> = values.into_iter().collect();
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) => self.find_into(text, &mut found),
                Value::Array(items) => {
                    // A phrase may be spread over the items of a list.
                    let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                    if texts.len() > 1 {
                        self.find_into(&texts.join(" "), &mut found);
                    }
                    open.extend(items);
                }
                Value::Object(map) => {
                    map.keys().for_each(|key| self.find_into(key, &mut found));
                    open.extend(map.values());
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        found.into_iter().collect()
    }

    fn find_into(&self, text: &str, found: &mut BTreeSet<Signal>) {
        self.find_folded(&folded(text), found);
        // Invisible characters may stand within words, or between them.
        if text.contains(is_invisible) {
            self.find_folded(&folded(&text.replace(is_invisible, " ")), found);
        }
    }

    fn find_folded(&self, folded: &str, found: &mut BTreeSet<Signal>) {
        for words in readings(folded) {
            for (start, word) in words.iter().enumerate() {
                let letter = word.chars().next().unwrap_or_default();
                for index in self.by_letter.get(&letter).into_iter().flatten() {
                    let Some(pattern) = self.patterns.get(*index) else { continue };
                    if !found.contains(&pattern.signal) && self.stands_at(&words, start, pattern) {
                        found.insert(pattern.signal.clone());
                    }
                }
            }
        }
    }

    // Whether a pattern begins at a word. Follows all positions that its parts so far may end at: a
    // few, however long the text is. INVARIANT (bounded-work).
    fn stands_at(&self, words: &[String], start: usize, pattern: &Pattern) -> bool {
        let at = |index: usize| words.get(index).map(String::as_str);
        if at(start).is_some_and(|word| same(word, &pattern.whole)) {
            return true;
        }
        let mut positions = BTreeSet::from([start]);
        let mut first = true;
        let mut gap = 0;
        for part in &pattern.parts {
            let wanted = match part {
                Part::Gap => {
                    gap = GAP_WORDS_MAX;
                    continue;
                }
                Part::Word(word) => word,
            };
            let mut next = BTreeSet::new();
            for position in positions {
                let mut fillers = if first { 0 } else { FILLERS_MAX };
                let mut gap = gap;
                let mut index = position;
                while let Some(word) = at(index) {
                    if same(word, wanted) {
                        next.insert(index + 1);
                    }
                    if self.fillers.contains(word) && fillers > 0 {
                        fillers -= 1;
                    } else if gap > 0 {
                        gap -= 1;
                    } else {
                        break;
                    }
                    index += 1;
                }
            }
            (positions, gap, first) = (next, 0, false);
            if positions.is_empty() {
                return false;
            }
        }
        true
    }
}

// The phrase without its gaps.
fn name(phrase: &str) -> String {
    phrase.split_whitespace().filter(|word| *word != GAP).collect::<Vec<_>>().join(" ")
}

fn same(word: &str, wanted: &str) -> bool {
    word == wanted || word.strip_suffix('s') == Some(wanted)
}

#[cfg(test)]
mod tests;
