//! Lenient base64: either alphabet, with or without padding, as DSSE requires of readers.

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);
const URL_SAFE_TEXT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);

/// The bytes of a text. `None`: it is no base64, or mixes the alphabets.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD_TEXT.decode(text).or_else(|_| URL_SAFE_TEXT.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn either_alphabet_is_read_and_no_mixture() {
        for text in ["-_8=", "-_8", "+/8=", "+/8"] {
            assert_eq!(decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        for text in ["-/8=", "+_8", "a b=", "-_8==", "-_9="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
