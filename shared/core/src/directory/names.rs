//! Canonical forms of what names persons and groups. What could end a header of a mail, or hide
//! from who reads it, is refused here.

use crate::{
    actor::{ActorIdError, canonical_id},
    text::is_hidden,
};
use contracts::{
    directory::{OidcIdentity, SlackIdentity},
    limits::{
        GROUP_CLAIM_BYTES_MAX, ISSUER_BYTES_MAX, MAIL_BYTES_MAX, NAME_BYTES_MAX,
        PERSON_NAME_BYTES_MAX, SUBJECT_BYTES_MAX,
    },
};

/// Longest part of a mail address before the `@` (RFC 5321, 4.5.3.1.1), and longest label of a
/// domain (RFC 1035, 2.3.4), in bytes.
const MAIL_LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_LABEL_BYTES_MAX: usize = 63;
/// Longest id that Slack gives, in bytes.
const SLACK_ID_BYTES_MAX: usize = 32;
/// What a requirement calls everybody who may decide.
const EVERYBODY: &str = "approvers";

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(transparent)]
    Actor(#[from] ActorIdError),
    #[error("a person's id holds no `/`, and is neither `.` nor `..`")]
    Slash,
    #[error(
        "a mail address is plain ASCII as `ann@example.org`, at most {MAIL_BYTES_MAX} bytes, \
         without blanks, quotes, comments or a name before it"
    )]
    Mail,
    #[error("a person's name is 1 to {PERSON_NAME_BYTES_MAX} bytes on one line, without controls")]
    Name,
    #[error("ids of Slack are capital letters and digits, at most {SLACK_ID_BYTES_MAX}")]
    Slack,
    #[error(
        "the identity of a provider is its issuer, a URL as the provider writes it, and a subject \
         of 1 to {SUBJECT_BYTES_MAX} printable ASCII characters"
    )]
    Oidc,
    #[error("a claim is 1 to {GROUP_CLAIM_BYTES_MAX} bytes on one line, as the provider says it")]
    Claim,
    #[error(
        "a group's name is a lower-case letter, then lower-case letters, digits and `-`, at most \
         {NAME_BYTES_MAX}"
    )]
    Group,
    #[error("`{EVERYBODY}` is everybody who may decide, and no group of the directory")]
    Everybody,
}

/// A person's id, canonical.
pub(super) fn person_id(text: &str) -> Result<String, NameError> {
    let id = canonical_id(text)?;
    // A path says each of them, and clients take `.` and `..` out of it (RFC 3986, 5.2.4).
    if id.contains('/') || [".", ".."].contains(&id.as_str()) {
        Err(NameError::Slash)
    } else {
        Ok(id)
    }
}

/// A mail address in small letters: an `Addr-spec` of dot-atoms (RFC 5322, 3.4.1), and nothing
/// that could begin another header or another recipient.
pub fn mail(text: &str) -> Result<String, NameError> {
    let (local, domain) = text.split_once('@').ok_or(NameError::Mail)?;
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let words = |text: &str, max: usize, of: &dyn Fn(char) -> bool| {
        text.split('.').all(|word| !word.is_empty() && word.len() <= max && word.chars().all(of))
    };
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let edges = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let fits = text.len() <= MAIL_BYTES_MAX && local.len() <= MAIL_LOCAL_BYTES_MAX;
    let well_formed = words(local, MAIL_LOCAL_BYTES_MAX, &atom)
        && words(domain, DOMAIN_LABEL_BYTES_MAX, &label)
        && domain.split('.').all(edges);
    if fits && well_formed { Ok(text.to_ascii_lowercase()) } else { Err(NameError::Mail) }
}

/// An actor's id or a mail address, canonical; None: it can be nobody's.
pub(super) fn identity(text: &str) -> Option<String> {
    canonical_id(text).ok().or_else(|| mail(text).ok())
}

/// An alias: an actor's id, or a mail address.
pub(super) fn alias(text: &str) -> Result<String, NameError> {
    identity(text).ok_or(()).or_else(|()| Ok(canonical_id(text)?))
}

/// What people are shown.
pub fn display_name(text: &str) -> Result<(), NameError> {
    let blank = text.trim().len() != text.len() || text.is_empty();
    let fits = !blank && text.len() <= PERSON_NAME_BYTES_MAX && !text.chars().any(is_hidden);
    if fits { Ok(()) } else { Err(NameError::Name) }
}

/// A user of Slack, as Slack writes ids.
pub fn slack(identity: &SlackIdentity) -> Result<(), NameError> {
    let id = |text: &str| {
        (1..=SLACK_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    if id(&identity.team_id) && id(&identity.user_id) { Ok(()) } else { Err(NameError::Slack) }
}

/// Whom an identity provider knows, as the provider writes it: nothing is made canonical, for what
/// differs in one character is somebody else.
pub fn oidc(identity: &OidcIdentity) -> Result<(), NameError> {
    let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let issuer = &identity.issuer;
    let url = ["https://", "http://"].iter().any(|scheme| {
        issuer.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    let issuer = url
        && issuer.len() <= ISSUER_BYTES_MAX
        && graphic(issuer)
        && !issuer.contains(['?', '#', '@', '\\']);
    let subject = &identity.subject;
    let subject = (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) && graphic(subject);
    if issuer && subject { Ok(()) } else { Err(NameError::Oidc) }
}

/// What an identity provider says of the members of a group.
pub fn claim(text: &str) -> Result<(), NameError> {
    let blank = text.trim().len() != text.len() || text.is_empty();
    let fits = !blank && text.len() <= GROUP_CLAIM_BYTES_MAX && !text.chars().any(is_hidden);
    if fits { Ok(()) } else { Err(NameError::Claim) }
}

/// A group's name, as `@approvers` can write it.
pub fn group_name(text: &str) -> Result<(), NameError> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(letter);
    match (fits, text) {
        (true, EVERYBODY) => Err(NameError::Everybody),
        (true, _) => Ok(()),
        (false, _) => Err(NameError::Group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses_are_plain_and_in_small_letters() {
        assert_eq!(mail("Ann.O'Brien+1@Example.ORG").as_deref(), Ok("ann.o'brien+1@example.org"));
        assert_eq!(mail("root@localhost").as_deref(), Ok("root@localhost"));
        for bad in [
            "",
            "ann",
            "@x.org",
            "ann@",
            "ann@@x.org",
            "ann@x@y.org",
            ".ann@x.org",
            "an..n@x.org",
            "ann@-x.org",
            "ann@x..org",
            "\"ann\"@x.org",
            "ann @x.org",
            "ann@x.org ",
            "Ann <ann@x.org>",
            "ann@x.org,bob@x.org",
            "ann@[127.0.0.1]",
            "ann@x.org(comment)",
            "\u{e4}nn@x.org",
            "ann@x\u{ff0e}org",
        ] {
            assert_eq!(mail(bad), Err(NameError::Mail), "{bad:?}");
        }
        assert_eq!(mail(&format!("{}@x.org", "a".repeat(65))), Err(NameError::Mail));
        assert_eq!(mail(&format!("a@{}.org", "x".repeat(64))), Err(NameError::Mail));
    }

    // A line break, whatever stands for one, would begin a header of its own.
    #[test]
    fn attack_mail_header_injection_in_addresses_and_names() {
        for end in ["\r\n", "\n", "\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\0"] {
            for text in [
                format!("ann@x.org{end}Bcc: eve@x.org"),
                format!("ann{end}@x.org"),
                format!("{end}ann@x.org"),
                format!("ann@x.org{end}"),
            ] {
                assert_eq!(mail(&text), Err(NameError::Mail), "{text:?}");
                assert!(alias(&text).is_err() && person_id(&text).is_err(), "{text:?}");
                assert_eq!(display_name(&text), Err(NameError::Name), "{text:?}");
            }
        }
        for hidden in ["a\u{202e}b", "a\u{200b}", "a\u{1b}[1m", " a", "a ", "", "\u{a0}a"] {
            assert_eq!(display_name(hidden), Err(NameError::Name), "{hidden:?}");
        }
        assert_eq!(display_name("Ann O'Brien \u{5f20}"), Ok(()));
    }

    #[test]
    fn groups_are_named_as_policies_write_them() {
        for good in ["finance", "on-call-2", "a"] {
            assert_eq!(group_name(good), Ok(()), "{good}");
        }
        for bad in ["", "Finance", "2nd", "-a", "on_call", "a.b", "a:1", "a b", "\u{e4}"] {
            assert_eq!(group_name(bad), Err(NameError::Group), "{bad}");
        }
        assert_eq!(group_name("approvers"), Err(NameError::Everybody));
        let slack_of = |team: &str, user: &str| {
            slack(&SlackIdentity { team_id: team.into(), user_id: user.into() })
        };
        assert_eq!(slack_of("T024BE7LD", "U024BE7LH"), Ok(()));
        for (team, user) in [("", "U1"), ("T1", ""), ("t1", "U1"), ("T1", "U1\n"), ("T1", "@ann")] {
            assert_eq!(slack_of(team, user), Err(NameError::Slack));
        }
    }
}
