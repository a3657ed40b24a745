//! What the engine needs of the world. Each port has at least two adapters.

use async_trait::async_trait;
use contracts::{ExecutionId, Timestamp, WorkspaceId, event::CloudEvent, manifest::Binding};
use countersign_store::PortError;
use cs_core::{mail::MailAddress, warrant};
use std::{collections::BTreeSet, sync::Arc};

/// A key that encrypts entries of the vault, and the form in which it may be stored beside them.
#[derive(Clone)]
pub struct DataKey {
    pub key: [u8; 32],
    /// Only the keeper can turn it into the key again.
    pub wrapped: Vec<u8>,
}

/// Keeper of the key that the vault is encrypted under, outside the table.
#[async_trait]
pub trait VaultKeys: Send + Sync {
    /// A key to encrypt with.
    async fn data_key(&self) -> Result<DataKey, PortError>;
    /// The key that was wrapped so.
    async fn open_key(&self, wrapped: &[u8]) -> Result<[u8; 32], PortError>;
}

/// One call to a tool, ready to send.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub binding: Binding,
    pub body: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
    pub timeout_ms: u64,
    /// Largest answer read, in bytes.
    pub answer_bytes_max: usize,
    /// Loopback and private addresses are allowed.
    pub allow_private: bool,
}

/// What a tool, or its adapter, says of a call that gave no output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolReport {
    /// For machines: `TOOL_404`, `MCP_REFUSED`.
    pub code: String,
    /// For people, in our words.
    pub fact: String,
    /// In the tool's words, which evidence may withhold.
    pub said: Vec<String>,
    /// The tool asks not to be called again before so many seconds have gone (RFC 9110,
    /// `Retry-After`).
    pub retry_after_seconds: Option<u32>,
}

impl ToolReport {
    /// One without the tool's own words.
    pub fn new(code: impl Into<String>, fact: impl Into<String>) -> Self {
        Self { code: code.into(), fact: fact.into(), ..Self::default() }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolAnswer {
    /// It did what was asked. The output as JSON; no bytes are `null`.
    Output(Vec<u8>),
    /// A queue took the call; the worker behind it has not.
    Queued { message_id: String },
    /// It will do it; the result comes by the callback.
    Accepted,
    /// It did what was asked, and the output is of no use.
    Unusable(ToolReport),
    /// It did not do it, and says why.
    Failed(ToolReport),
    /// It may have done it.
    Unknown(ToolReport),
    /// Nothing was sent.
    Unreached(String),
}

impl ToolAnswer {
    /// Not sent, because an outbound rule forbids it.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::Failed(ToolReport::new("TARGET_FORBIDDEN", why))
    }

    /// Sent, or perhaps sent; no answer.
    pub fn lost(why: impl Into<String>) -> Self {
        let report = ToolReport::new("TOOL_LOST", "the tool did not answer");
        Self::Unknown(ToolReport { said: vec![why.into()], ..report })
    }

    /// A success of which no more than so many bytes are read.
    pub fn too_large(bytes_max: usize) -> Self {
        let fact = format!("the tool succeeded with more than {bytes_max} bytes");
        Self::Unusable(ToolReport::new("OUTPUT_TOO_LARGE", fact))
    }
}

/// Tools.
#[async_trait]
pub trait Tools: Send + Sync {
    /// Calls a tool once.
    async fn call(&self, call: ToolCall) -> ToolAnswer;
}

/// A mail, ready to send.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: MailAddress,
    /// The message with its headers (RFC 5322).
    pub message: Vec<u8>,
    pub timeout_ms: u64,
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The mail server is not there: no other mail would go, either.
    #[error("the mail server was not reached: {0}")]
    Unreached(String),
    /// It does not take this one now, or did not say that it did.
    #[error("the mail server did not take it: {0}")]
    Deferred(String),
    /// It will never take this one.
    #[error("the mail server refused it: {0}")]
    Refused(String),
}

/// What sends mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Whom mails come from. None: no mail is set up here, and none is sent.
    fn sender(&self) -> Option<&MailAddress>;
    /// Sends a mail once.
    async fn send(&self, mail: Mail) -> Result<(), MailError>;
}

/// No mail is set up.
pub struct NoMail;

#[async_trait]
impl Mailer for NoMail {
    fn sender(&self) -> Option<&MailAddress> {
        None
    }
    async fn send(&self, _: Mail) -> Result<(), MailError> {
        Err(MailError::Unreached("no mail is set up here".into()))
    }
}

/// A sign-in at the identity provider that begins.
#[derive(Clone, Debug)]
pub struct SignInBegun {
    pub state: String,
    pub nonce: String,
    /// Of PKCE (RFC 7636).
    pub verifier: String,
    /// Where the provider leads the browser back to.
    pub redirect_uri: String,
    /// The person is to prove who they are now, whatever session the provider has of them.
    pub fresh: bool,
}

/// A sign-in that comes back.
#[derive(Clone, Debug)]
pub struct SignInReturned {
    pub code: String,
    pub nonce: String,
    pub verifier: String,
    pub redirect_uri: String,
    /// The person proved who they are then or later, as the provider was asked for.
    pub fresh_since: Option<Timestamp>,
    pub now: Timestamp,
}

/// Who signed in, as the provider says it in a token whose signature, issuer, audience, expiry and
/// nonce hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    pub issuer: String,
    pub subject: String,
    /// For people to read; proves nothing.
    pub name: Option<String>,
    /// The values of the groups claim.
    pub groups: BTreeSet<String>,
}

/// Why nobody signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It may be there in a moment.
    #[error("the identity provider does not answer: {0}")]
    Unreached(String),
    /// It does not say who it is.
    #[error("the identity provider refused the sign-in: {0}")]
    Refused(String),
    /// What it says is not to be believed, or not what was asked for.
    #[error("what the identity provider said is not accepted: {0}")]
    Untrusted(String),
}

/// Signs people in (OpenID Connect).
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// Where a browser signs in.
    async fn begin(&self, begun: SignInBegun) -> Result<String, ProviderError>;
    /// Who did.
    async fn finish(&self, returned: SignInReturned) -> Result<ProviderIdentity, ProviderError>;
}

/// No identity provider is set up.
pub struct NoIdentityProvider;

#[async_trait]
impl IdentityProvider for NoIdentityProvider {
    async fn begin(&self, _: SignInBegun) -> Result<String, ProviderError> {
        Err(ProviderError::Refused("none is set up here".into()))
    }
    async fn finish(&self, _: SignInReturned) -> Result<ProviderIdentity, ProviderError> {
        Err(ProviderError::Refused("none is set up here".into()))
    }
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// A state machine waited with this token and goes on.
    Delivered,
    /// Nobody waits with this token: it is used or timed out, or its machine has ended.
    Gone,
}

/// What drives executions through their state machine: Step Functions, or the walker.
#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Starts driving an execution. The same execution and `name` twice is one start.
    async fn start(
        &self,
        workspace: &WorkspaceId,
        execution: &ExecutionId,
        name: &str,
    ) -> Result<(), PortError>;
    /// Ends the wait of a token, and says whether anybody waited.
    async fn succeed(&self, token: &str) -> Result<Signalled, PortError>;
}

/// Where stage events go: a queue, or a subscriber.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes events of one stream in their order. Says how many, from the first, are out, and
    /// why not all.
    async fn publish(
        &self,
        workspace: &WorkspaceId,
        events: &[CloudEvent],
    ) -> (usize, Result<(), PortError>);
}

/// Where exports are kept.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Whether there is a document of this name.
    async fn holds(&self, name: &str) -> Result<bool, PortError>;
    /// Stores a document. Durable when it returns.
    async fn put(&self, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), PortError>;
}

/// No archive is set up.
pub struct NoArchive;

#[async_trait]
impl Archive for NoArchive {
    async fn holds(&self, _: &str) -> Result<bool, PortError> {
        Ok(false)
    }
    async fn put(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(), PortError> {
        Err(PortError::Unavailable("no archive is set up here".into()))
    }
}

/// Keeper of the keys that sign warrants.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The key that signs, and those that are still published.
    async fn ring(&self) -> Result<Arc<warrant::Ring>, PortError>;
}

/// Keys that are at hand.
#[async_trait]
impl Signer for Arc<warrant::Ring> {
    async fn ring(&self) -> Result<Arc<warrant::Ring>, PortError> {
        Ok(self.clone())
    }
}
