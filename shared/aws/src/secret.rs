//! The key that signs warrants, from Secrets Manager. Read when it is first needed, never before.
//!
//! Why not a key inside KMS: every step of every plan carries a warrant, and KMS asks for money and milliseconds each
//! time; the key in memory takes 14 µs.

use async_trait::async_trait;
use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use cs_core::{canonical, warrant};
use engine::ports::{Fault, Signer};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Fewest characters of a secret: of letters and digits, 43 hold 256 bits.
const SECRET_CHARS_MIN: usize = 43;

/// Signs with the key of a secret.
pub struct SecretSigner {
    client: Client,
    secret: String,
    key: OnceCell<Arc<warrant::Key>>,
}

impl SecretSigner {
    /// A signer by the ARN of its secret.
    pub fn new(client: Client, secret: String) -> Self {
        Self { client, secret, key: OnceCell::new() }
    }

    async fn read(&self) -> Result<Arc<warrant::Key>, Fault> {
        if self.secret.is_empty() {
            return Err(Fault::Corrupt("this function has no secret to sign with".into()));
        }
        let out = self.client.get_secret_value().secret_id(&self.secret).send().await.map_err(|error| {
            let code = error.code().unwrap_or("no answer").to_owned();
            Fault::Unavailable(format!("the signing secret: {code}: {}", error.message().unwrap_or_default()))
        })?;
        let text = out.secret_string().unwrap_or_default();
        if text.len() < SECRET_CHARS_MIN {
            return Err(Fault::Corrupt(format!("the signing secret is shorter than {SECRET_CHARS_MIN} characters")));
        }
        Ok(Arc::new(key_of(text)))
    }
}

// The secret is text that CloudFormation made up; the key's 32 bytes are its hash.
fn key_of(secret: &str) -> warrant::Key {
    let digest = canonical::digest_parts(&[b"countersign/warrant-key/1", secret.as_bytes()]);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let nibble = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16)).unwrap_or(0);
        *byte = (nibble(0) * 16 + nibble(1)) as u8;
    }
    warrant::Key::new(&bytes)
}

#[async_trait]
impl Signer for SecretSigner {
    async fn key(&self) -> Result<Arc<warrant::Key>, Fault> {
        self.key.get_or_try_init(|| self.read()).await.cloned()
    }
}
