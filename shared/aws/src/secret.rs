//! The keys that sign warrants, from Secrets Manager. Read when they are first needed, never
//! before, and again after a while: a secret that is rotated (`aws secretsmanager
//! put-secret-value`) is published from then on and signs ten minutes later; the one before it
//! stays published, so that warrants on their way are taken.
//!
//! Why not a key inside KMS: every step of every plan carries a warrant, and KMS asks for money and
//! milliseconds each time; the key in memory takes 14 µs.

use async_trait::async_trait;
use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use countersign_store::PortError;
use cs_core::{canonical, warrant};
use engine::ports::Signer;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;

/// Fewest characters of a secret: of letters and digits, 43 hold 256 bits.
const SECRET_CHARS_MIN: usize = 43;
/// How long the keys are kept before they are read again.
const KEPT: Duration = Duration::from_secs(300);
/// A new key is published for so long before it signs, in seconds: functions and tools keep keys
/// for five minutes.
const PUBLISHED_FIRST_SECONDS: i64 = 600;
/// The stages of a secret whose keys are published.
const STAGES: [&str; 2] = ["AWSCURRENT", "AWSPREVIOUS"];

/// Signs with the key of a secret.
pub struct SecretSigner {
    client: Client,
    secret: String,
    ring: Mutex<Option<(Instant, Arc<warrant::Ring>)>>,
}

impl SecretSigner {
    /// A signer by the ARN of its secret.
    pub fn new(client: Client, secret: String) -> Self {
        Self { client, secret, ring: Mutex::default() }
    }

    async fn read(&self) -> Result<warrant::Ring, PortError> {
        if self.secret.is_empty() {
            return Err(PortError::Corrupt("this function has no secret to sign with".into()));
        }
        let [current, previous] = STAGES;
        let newest = self.key(current).await?;
        let (newest, made_at) =
            newest.ok_or_else(|| PortError::Corrupt("the signing secret has no value".into()))?;
        // A secret that was never rotated has none before.
        let before = self.key(previous).await?.map(|(key, _)| key);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(ring(newest, before, now as i64 - made_at))
    }

    // The key of a stage, and when it was made, in seconds since 1970.
    async fn key(&self, stage: &str) -> Result<Option<(warrant::Key, i64)>, PortError> {
        let request = self.client.get_secret_value().secret_id(&self.secret).version_stage(stage);
        let out = match request.send().await.map_err(|error| error.into_service_error()) {
            Ok(out) => out,
            Err(error) if error.is_resource_not_found_exception() => return Ok(None),
            Err(error) => {
                let code = error.code().unwrap_or("no answer").to_owned();
                let message = error.message().unwrap_or_default();
                return Err(PortError::Unavailable(format!(
                    "the signing secret: {code}: {message}"
                )));
            }
        };
        let text = out.secret_string().unwrap_or_default();
        if text.len() < SECRET_CHARS_MIN {
            return Err(PortError::Corrupt(format!(
                "the signing secret is shorter than {SECRET_CHARS_MIN} characters"
            )));
        }
        Ok(Some((key_of(text), out.created_date().map_or(0, |date| date.secs()))))
    }
}

// The newest key signs once it has been published for long enough, and at once where there is none
// before it.
fn ring(newest: warrant::Key, before: Option<warrant::Key>, age_seconds: i64) -> warrant::Ring {
    match before {
        Some(before) if age_seconds < PUBLISHED_FIRST_SECONDS => {
            warrant::Ring::new(before).with_published([newest])
        }
        before => warrant::Ring::new(newest).with_published(before),
    }
}

// The secret is text that CloudFormation made up; the key's 32 bytes are its hash.
fn key_of(secret: &str) -> warrant::Key {
    let digest = canonical::digest_parts(&[b"countersign/warrant-key/1", secret.as_bytes()]);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let nibble =
            |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16)).unwrap_or(0);
        *byte = (nibble(0) * 16 + nibble(1)) as u8;
    }
    warrant::Key::new(&bytes)
}

#[async_trait]
impl Signer for SecretSigner {
    async fn ring(&self) -> Result<Arc<warrant::Ring>, PortError> {
        let mut kept = self.ring.lock().await;
        if let Some((_, ring)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(ring.clone());
        }
        let ring = Arc::new(self.read().await?);
        *kept = Some((Instant::now(), ring.clone()));
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_signing_key_is_published_before_it_signs() {
        let (old, new) = (|| key_of("old"), || key_of("new"));
        for (age_seconds, signs) in
            [(0, old()), (PUBLISHED_FIRST_SECONDS - 1, old()), (PUBLISHED_FIRST_SECONDS, new())]
        {
            let ring = ring(new(), Some(old()), age_seconds);
            assert_eq!(ring.current().id(), signs.id(), "{age_seconds} s");
            assert_eq!(ring.jwks()["keys"].as_array().map(Vec::len), Some(2), "both are published");
        }
        assert_eq!(ring(new(), None, 0).current().id(), new().id(), "the first signs at once");
    }
}
