//! Mail addresses. One address in the plain form of RFC 5321 and nothing beside it: no name, no
//! quotes, no comments, no list, so that what is written into a header or said to a mail server
//! cannot be more than an address.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest address, in bytes (RFC 5321, 4.5.3.1.3, less the brackets of a path).
const ADDRESS_BYTES_MAX: usize = 254;
/// Longest part before the `@`, in bytes.
const LOCAL_BYTES_MAX: usize = 64;
/// Longest word of a domain, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A mail address. Its domain is in small letters; what stands before it is as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MailAddress {
    text: String,
    at: usize,
}

/// A text is no mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one mail address, as in `ada@example.com`, and nothing beside it")]
pub struct MailAddressError;

impl MailAddress {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }
}

impl FromStr for MailAddress {
    type Err = MailAddressError;
    fn from_str(text: &str) -> Result<Self, MailAddressError> {
        let (local, domain) = text.split_once('@').ok_or(MailAddressError)?;
        if text.len() > ADDRESS_BYTES_MAX || !is_local(local) || !is_domain(domain) {
            return Err(MailAddressError);
        }
        let text = format!("{local}@{}", domain.to_ascii_lowercase());
        Ok(Self { text, at: local.len() })
    }
}

// A dot-atom (RFC 5322, 3.2.3), without the slash: it is what paths are made of, and no address.
fn is_local(text: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-=?^_`{|}~".contains(&byte);
    text.len() <= LOCAL_BYTES_MAX
        && text.split('.').all(|word| !word.is_empty() && word.bytes().all(atom))
}

// A name, not an address of the network; one word is the name of a machine beside this one.
fn is_domain(text: &str) -> bool {
    let label = |word: &str| {
        !word.is_empty()
            && word.len() <= LABEL_BYTES_MAX
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !word.starts_with('-')
            && !word.ends_with('-')
    };
    let number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').all(label) && !text.rsplit('.').next().is_none_or(number)
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<MailAddress> for String {
    fn from(address: MailAddress) -> Self {
        address.text
    }
}

impl TryFrom<String> for MailAddress {
    type Error = MailAddressError;
    fn try_from(text: String) -> Result<Self, MailAddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_a_mail_address_that_is_more_than_one() {
        for good in
            ["ada@example.com", "a.b+c@x-y.example", "o'neil@mail.example", "root@localhost"]
        {
            assert_eq!(good.parse::<MailAddress>().map(String::from), Ok(good.to_owned()));
        }
        let address: MailAddress = "Ada@Example.COM".parse().unwrap();
        assert_eq!((address.as_str(), address.domain()), ("Ada@example.com", "example.com"));
        let long = format!("{}@example.com", "a".repeat(LOCAL_BYTES_MAX + 1));
        let deep = format!("a@{}com", "x.".repeat(130));
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@example.com,eve@example.com",
            "ada@example.com;eve@example.com",
            "ada@example.com eve@example.com",
            "Ada <ada@example.com>",
            "<ada@example.com>",
            "\"ada eve\"@example.com",
            "ada(comment)@example.com",
            "ada@eve@example.com",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@example..com",
            "ada@-example.com",
            ".ada@example.com",
            "ada.@example.com",
            "ada@example.com.",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada\n@example.com",
            "ada\u{0}@example.com",
            "ada@exämple.com",
            "аda@example.com",
            " ada@example.com",
            "//ada@example.com",
            &long,
            &deep,
        ] {
            assert_eq!(bad.parse::<MailAddress>(), Err(MailAddressError), "{bad:?}");
        }
    }
}
