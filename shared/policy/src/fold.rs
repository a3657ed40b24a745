//! A text as a language model reads it: the words that remain after compatibility forms, invisible
//! characters, marks, look-alikes and case are folded.
//!
//! NFKC, then the skeleton of UTS 39, then lower case. The crates `unicode-normalization` and
//! `unicode-security` carry the tables of the Unicode Consortium.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Characters that are shown as nothing (Default_Ignorable_Code_Point of Unicode's
/// DerivedCoreProperties.txt), without the tags, which spell ASCII invisibly and are read as such.
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

/// Letters that are drawn in a circle, a square or as a flag, and that no compatibility form says
/// to be letters: the `A` of each.
const DRAWN: &[u32] = &[0x1f150, 0x1f170, 0x1f1e6];
/// Small capitals, from `a` to `z`.
const SMALL_CAPITALS: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡxʏᴢ";

// The letter of the Latin alphabet that a character draws, from 0.
fn drawn(c: char) -> Option<u32> {
    let code = u32::from(c);
    let place = DRAWN.iter().find_map(|first| code.checked_sub(*first).filter(|place| *place < 26));
    let small = || SMALL_CAPITALS.chars().position(|small| small == c).map(|place| place as u32);
    place.or_else(|| if c.is_ascii() { None } else { small() })
}

fn visible(c: char) -> Option<char> {
    let code = u32::from(c);
    if let Some(place) = drawn(c) {
        return char::from_u32(u32::from('a') + place);
    }
    if (TAGS.0..=TAGS.1).contains(&code) {
        return char::from_u32(code - 0xe0000);
    }
    (!is_invisible(c) && !is_combining_mark(c)).then_some(c)
}

/// Whether a character is shown as nothing.
pub(crate) fn is_invisible(c: char) -> bool {
    INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// The folded form of a text. Two texts that look alike fold alike.
pub(crate) fn folded(text: &str) -> String {
    // Decomposed, so that marks stand alone and fall away.
    let bare: String = text
        .nfkc()
        .filter_map(visible)
        .nfkd()
        .filter_map(visible)
        .flat_map(char::to_lowercase)
        .collect();
    let skeleton =
        unicode_security::skeleton(&bare).filter_map(visible).flat_map(char::to_lowercase);
    // `I`, `l` and `1` are one look; in lower case the first of them is `i`.
    skeleton.map(|c| if c == 'i' { 'l' } else { c }).collect()
}

/// The words of a folded text, read in two ways: cut at whatever is no letter or digit (`api-key`
/// is two words), and cut at white space only, with single letters joined (`i-g-n-o-r-e` and `i g n
/// o r e` are one).
pub(crate) fn readings(folded: &str) -> [Vec<String>; 2] {
    let cut = folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned);
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
            "🅸🅶🅽🅾🆁🅴 🅟🅡🅔🅥🅘🅞🅤🅢",
            "🇮🇬🇳🇴🇷🇪 ᴘʀᴇᴠɪᴏᴜꜱ",
        ] {
            assert_eq!(folded(text), plain, "{text}");
        }
        let tagged: String = "ignore previous"
            .chars()
            .filter_map(|c| char::from_u32(u32::from(c) + 0xe0000))
            .collect();
        assert_eq!(folded(&tagged), plain);
    }

    #[test]
    fn letters_that_are_split_are_joined() {
        let joined = |text: &str| readings(&folded(text))[1].clone();
        let word = folded("ignore");
        for text in
            ["i-g-n-o-r-e", "i g n o r e", "i.g.n.o.r.e", "ig-no_re", "i - g - n - o - r - e"]
        {
            assert_eq!(joined(text), std::slice::from_ref(&word), "{text}");
        }
        assert_eq!(readings(&folded("api-key"))[0].len(), 2);
    }
}
