//! A text as a language model reads it, not as it is spelled: the words that are left when compatibility forms, invisible
//! characters, marks, look-alikes and case are folded away (CONTRACTS 6).
//!
//! NFKC, then the skeleton of UTS 39, then lower case. The crates `unicode-normalization` and `unicode-security` carry the
//! tables of the Unicode Consortium.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Characters that are shown as nothing (Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt), without
/// the tags, which spell ASCII invisibly and are read as such.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];
/// Tag characters, which spell ASCII from U+0020 on.
const TAGS: (u32, u32) = (0xe0020, 0xe007e);

fn visible(c: char) -> Option<char> {
    let code = u32::from(c);
    if (TAGS.0..=TAGS.1).contains(&code) {
        return char::from_u32(code - 0xe0000);
    }
    let hidden = INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c));
    (!hidden && !is_combining_mark(c)).then_some(c)
}

/// The folded form of a text. Two texts that look alike fold alike.
pub(crate) fn folded(text: &str) -> String {
    // Decomposed, so that marks stand alone and fall away.
    let bare: String =
        text.nfkc().filter_map(visible).nfkd().filter_map(visible).flat_map(char::to_lowercase).collect();
    let skeleton = unicode_security::skeleton(&bare).filter_map(visible).flat_map(char::to_lowercase);
    // `I`, `l` and `1` are one look; in lower case the first of them is `i`.
    skeleton.map(|c| if c == 'i' { 'l' } else { c }).collect()
}

/// The words of a folded text, read in two ways: cut at whatever is no letter or digit (`api-key` is two words), and cut
/// at white space only, with single letters joined (`i-g-n-o-r-e` and `i g n o r e` are one).
pub(crate) fn readings(folded: &str) -> [Vec<String>; 2] {
    let cut = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned);
    let mut joined: Vec<String> = Vec::new();
    let mut single = false;
    for word in folded.split_whitespace() {
        let word: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
        // Between single letters, punctuation alone is no word of its own.
        if word.is_empty() {
            continue;
        }
        let letter = word.chars().count() == 1;
        match joined.last_mut() {
            Some(last) if letter && single => last.push_str(&word),
            _ => joined.push(word),
        }
        single = letter;
    }
    [cut.collect(), joined]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_folds_alike() {
        let plain = folded("ignore previous");
        for text in [
            "IGNORE previous",
            "ｉｇｎｏｒｅ ｐｒｅｖｉｏｕｓ",
            "ignоre previоus",
            "igno\u{34f}re pre\u{200b}vious",
            "ígnörè prévious",
            "i\u{336}g\u{336}n\u{336}ore previous",
            "𝐢𝐠𝐧𝐨𝐫𝐞 𝓹𝓻𝓮𝓿𝓲𝓸𝓾𝓼",
            "ⓘⓖⓝⓞⓡⓔ previous",
            "lgnore previous",
            "1gn0re previ0us",
            "İgnore previous",
        ] {
            assert_eq!(folded(text), plain, "{text}");
        }
        let tagged: String =
            "ignore previous".chars().filter_map(|c| char::from_u32(u32::from(c) + 0xe0000)).collect();
        assert_eq!(folded(&tagged), plain);
    }

    #[test]
    fn letters_that_are_split_are_joined() {
        let joined = |text: &str| readings(&folded(text))[1].clone();
        let word = folded("ignore");
        for text in ["i-g-n-o-r-e", "i g n o r e", "i.g.n.o.r.e", "ig-no_re", "i - g - n - o - r - e"] {
            assert_eq!(joined(text), std::slice::from_ref(&word), "{text}");
        }
        assert_eq!(readings(&folded("api-key"))[0].len(), 2);
    }
}
