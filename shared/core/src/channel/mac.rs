//! Signatures by a shared secret, compared in constant time.

use super::ChannelError;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::Sha256;

/// Checks a hexadecimal HMAC-SHA256 over the parts of a message, behind a prefix.
pub(super) fn check_hex(
    (prefix, given): (&str, &str),
    secret: &str,
    message: &[&[u8]],
) -> Result<(), ChannelError> {
    let given = given.strip_prefix(prefix).and_then(|digits| hex::decode(digits).ok());
    let given = given.ok_or(ChannelError::Signature)?;
    let mut mac = sha256(secret)?;
    for part in message {
        mac.update(part);
    }
    mac.verify_slice(&given).map_err(|_| ChannelError::Signature)
}

/// Checks a base64 HMAC-SHA1 (Twilio's choice).
pub(super) fn check_sha1(given: &str, secret: &str, message: &[u8]) -> Result<(), ChannelError> {
    let given = B64.decode(given).map_err(|_| ChannelError::Signature)?;
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(|_| ChannelError::Signature)?;
    mac.update(message);
    mac.verify_slice(&given).map_err(|_| ChannelError::Signature)
}

/// Checks a token that is sent as it is. Both are hashed under the same key first, so that the time
/// tells nothing, of the length neither.
pub(super) fn check_token(given: &str, secret: &str) -> Result<(), ChannelError> {
    let mut wanted = sha256(secret)?;
    wanted.update(secret.as_bytes());
    let mut mac = sha256(secret)?;
    mac.update(given.as_bytes());
    mac.verify(&wanted.finalize().into_bytes()).map_err(|_| ChannelError::Signature)
}

fn sha256(secret: &str) -> Result<Hmac<Sha256>, ChannelError> {
    Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| ChannelError::Signature)
}
