//! Channels of a workspace: controlPlane.channel.put, list and remove.
//!
//! Who may make what people outside say into an intent is authority: changes are a person's, and
//! stand in the workspace log. Secrets are encrypted as those of subscriptions are, and are in no
//! answer. The actor of a channel has the grants of an agent and no more, and who set the channel
//! up does not decide on what comes through it.

use crate::{
    Answer, Base, Caller, Parts, Vault, boxed, decide::approve::check_text, records::IntentRecord,
    run::vault::Wrapped,
};
use contracts::{
    Code, ExecutionId, Issue, Problem, Timestamp, WorkspaceId,
    access::KeyMaker,
    channel::{
        ChannelList, ChannelRemoved, ChannelRule, ChannelSource, ChannelView, ListChannels,
        Provider, PutChannel, RemoveChannel,
    },
    event::{Actor, ActorKind},
    limits::{
        CHANNEL_SECRET_BYTES_MAX, CHANNEL_SOURCES_MAX, CHANNELS_BYTES_MAX, CHANNELS_MAX,
        EXTERNAL_ID_BYTES_MAX,
    },
    names,
};
use countersign_store::{Change, Condition, Item, PortError, Record, Write, encode, keys};
use cs_core::{
    canonical,
    channel::{self, Origin, Outbound, Sender, check_rules},
    target,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Grant that sets channels up.
const GRANT: &str = "control-plane.channels";
/// Longest key of a channel, in bytes.
const KEY_BYTES_MAX: usize = 40;
/// Shortest secret that anything is signed with, in bytes.
const SIGNING_SECRET_BYTES_MIN: usize = 16;
/// How actors of channels are called.
const ACTOR: &str = "channel:";
/// Field of an intent's metadata: where it came from.
pub(crate) const ORIGIN: &str = "channel";

/// A channel as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredChannel {
    pub(crate) channel_key: String,
    pub(crate) provider: Provider,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_url: Option<String>,
    pub(crate) sources: Vec<ChannelSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own_user_id: Option<String>,
    pub(crate) rules: Vec<ChannelRule>,
    pub(crate) reply: bool,
    /// Who set it up, as of a key.
    pub(crate) made_by: KeyMaker,
    pub(crate) updated_at: Timestamp,
    /// A [`ChannelSecrets`].
    secrets: Wrapped,
    /// The names of those it has.
    has: BTreeSet<String>,
}

/// The secrets of a channel.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelSecrets {
    #[serde(default)]
    pub(crate) signing_secret: String,
    #[serde(default)]
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) verify_token: String,
}

impl ChannelSecrets {
    fn names(&self) -> BTreeSet<String> {
        let all = [
            ("signingSecret", &self.signing_secret),
            ("token", &self.token),
            ("verifyToken", &self.verify_token),
        ];
        all.into_iter()
            .filter(|(_, secret)| !secret.is_empty())
            .map(|(name, _)| name.into())
            .collect()
    }
}

impl StoredChannel {
    /// The actor as whom it submits.
    pub(crate) fn actor(&self) -> Actor {
        Actor { kind: ActorKind::Agent, id: format!("{ACTOR}{}", self.channel_key) }
    }
}

/// Channels of a workspace.
pub struct Channels {
    pub(crate) base: Arc<Base>,
    pub(crate) vault: Arc<Vault>,
}

impl Channels {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { base: parts.base.clone(), vault: parts.vault.clone() }
    }

    /// A channel of a workspace with its secrets.
    pub(crate) async fn open(
        &self,
        workspace: &WorkspaceId,
        channel_key: &str,
    ) -> Result<Option<(StoredChannel, ChannelSecrets)>, PortError> {
        let stored = self.stored(workspace).await?.value;
        let found = stored.into_iter().find(|channel| channel.channel_key == channel_key);
        let Some(channel) = found else { return Ok(None) };
        let secrets = self.secrets(workspace, &channel).await?;
        Ok(Some((channel, secrets)))
    }

    /// A channel of a workspace.
    pub(crate) async fn find(
        &self,
        workspace: &WorkspaceId,
        channel_key: &str,
    ) -> Result<Option<StoredChannel>, PortError> {
        let stored = self.stored(workspace).await?.value;
        Ok(stored.into_iter().find(|channel| channel.channel_key == channel_key))
    }

    async fn secrets(
        &self,
        workspace: &WorkspaceId,
        channel: &StoredChannel,
    ) -> Result<ChannelSecrets, PortError> {
        let key = keys::channels(workspace);
        let plain = self.vault.unwrap(&key, &channel.secrets).await?;
        countersign_store::decode(&key, &plain)
    }

    async fn stored(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Record<Vec<StoredChannel>>, PortError> {
        self.base.store.record(&keys::channels(workspace)).await
    }

    /// Adds a channel or replaces it.
    #[boxed]
    pub async fn put(&self, caller: &Caller, request: PutChannel) -> Answer<ChannelView> {
        caller.require_person(GRANT)?;
        check_text("/reason", request.reason.as_deref())?;
        let author = caller.author(self.base.now());
        let told = public(&request);
        let changed = self.base.store.change(&author, ("channel.put", &told), || {
            Box::pin(async {
                let stored = self.stored(&caller.workspace).await?;
                let known =
                    stored.value.iter().find(|known| known.channel_key == request.channel_key);
                let secrets = self.merged(&caller.workspace, known, &request).await?;
                self.check(known, &request, &secrets)?;
                let channel = self.channel(caller, &request, &secrets).await?;
                let mut channels = stored.value.clone();
                channels.retain(|known| known.channel_key != channel.channel_key);
                channels.push(channel.clone());
                channels.sort_by(|left, right| left.channel_key.cmp(&right.channel_key));
                check_all(&channels)?;
                let answer = self.view(&caller.workspace, &channel)?;
                let event =
                    self.base.governance_changed(caller, "channels", &answer, &request.reason)?;
                let key = keys::channels(&caller.workspace);
                let mut writes = vec![self.base.store.replace(&stored, key, &channels).await?];
                if channel.reply {
                    // Before the first commit that it is to hear of.
                    self.base.store.begin_stage_events();
                    let item = Item { version: 1, ..Item::default() };
                    let key = keys::replying(&caller.workspace);
                    writes.push(Write::Put { key, item, condition: Condition::Any });
                }
                Ok(Change::new(answer, event, writes))
            })
        });
        Ok(changed.await?.answer())
    }

    /// The channels, without their secrets.
    #[boxed]
    pub async fn list(&self, caller: &Caller, _: ListChannels) -> Answer<ChannelList> {
        caller.require_whole(GRANT)?;
        let stored = self.stored(&caller.workspace).await?.value;
        let items = stored.iter().map(|channel| self.view(&caller.workspace, channel));
        Ok(ChannelList { items: items.collect::<Answer<_>>()? })
    }

    /// The request that tells who asked for an execution through a channel something in the thread
    /// where it was asked. None: it came in by another way, or the channel does not reply.
    ///
    /// INVARIANT (data-is-never-control): who submits through the API may write any origin into its
    /// metadata; what a channel itself submitted was asked without a key.
    #[boxed]
    pub async fn reply(
        &self,
        workspace: &WorkspaceId,
        channel_key: &str,
        execution: &ExecutionId,
        text: &str,
    ) -> Answer<Option<(Provider, Outbound)>> {
        let key = keys::body(workspace, execution, "intent");
        let intent: Option<IntentRecord> = self.base.store.body(&key).await?;
        let opened = self.open(workspace, channel_key).await?;
        let (Some(intent), Some((stored, secrets))) = (intent, opened) else { return Ok(None) };
        let own = intent.key_id.is_none()
            && intent.actor == stored.actor()
            && intent.channel_key.as_deref() == Some(channel_key);
        let origin = intent.metadata.and_then(|mut metadata| metadata.remove(ORIGIN));
        let origin = origin.and_then(|origin| serde_json::from_value::<Origin>(origin).ok());
        let origin = origin.filter(|origin| own && origin.provider_key == stored.provider);
        let Some(origin) = origin.filter(|_| stored.reply) else { return Ok(None) };
        let sender = Sender {
            api_url: stored.api_url.as_deref(),
            token: &secrets.token,
            signing_secret: &secrets.signing_secret,
        };
        let outbound = channel::reply(&sender, &origin, text);
        Ok(outbound.map(|outbound| (stored.provider, outbound)))
    }

    /// Ends a channel: what it was sent and has not submitted is not submitted any more.
    #[boxed]
    pub async fn remove(&self, caller: &Caller, request: RemoveChannel) -> Answer<ChannelRemoved> {
        caller.require_person(GRANT)?;
        check_text("/reason", request.reason.as_deref())?;
        let author = caller.author(self.base.now());
        let changed = self.base.store.change(&author, ("channel.remove", &request), || {
            Box::pin(async {
                let stored = self.stored(&caller.workspace).await?;
                let mut channels = stored.value.clone();
                channels.retain(|known| known.channel_key != request.channel_key);
                if channels.len() == stored.value.len() {
                    let known = stored.value.iter().map(|known| known.channel_key.as_str());
                    let issue =
                        names::unknown("/channelKey", "channel", &request.channel_key, known);
                    let message = "there is no such channel in this workspace";
                    return Err(Problem::new(Code::NotFound, message).issue(issue));
                }
                let answer = ChannelRemoved { removed: request.channel_key.clone() };
                let event =
                    self.base.governance_changed(caller, "channels", &answer, &request.reason)?;
                let key = keys::channels(&caller.workspace);
                let write = self.base.store.replace(&stored, key, &channels).await?;
                Ok(Change::new(answer, event, vec![write]))
            })
        });
        Ok(changed.await?.answer())
    }

    // The given secrets, and those before where none is given.
    async fn merged(
        &self,
        workspace: &WorkspaceId,
        known: Option<&StoredChannel>,
        request: &PutChannel,
    ) -> Result<ChannelSecrets, PortError> {
        // Of another provider they are of no use.
        let known = known.filter(|known| known.provider == request.provider);
        let before = match known {
            Some(known) => self.secrets(workspace, known).await?,
            None => ChannelSecrets::default(),
        };
        let or = |given: &Option<String>, before: String| given.clone().unwrap_or(before);
        Ok(ChannelSecrets {
            signing_secret: or(&request.signing_secret, before.signing_secret),
            token: or(&request.token, before.token),
            verify_token: or(&request.verify_token, before.verify_token),
        })
    }

    fn check(
        &self,
        known: Option<&StoredChannel>,
        request: &PutChannel,
        secrets: &ChannelSecrets,
    ) -> Answer<()> {
        let mut issues = check_key(&request.channel_key);
        issues.extend(check_secrets(request, secrets));
        issues.extend(check_sources(request.provider, &request.sources));
        issues.extend(check_rules(&request.rules));
        let mut wrong = |pointer: &str, message: &str| issues.push(Issue::new(pointer, message));
        if let Some(url) = &request.api_url {
            let problem = target::problem(url, self.base.config.allow_private_targets);
            if let Some(why) = problem {
                wrong("/apiUrl", &why);
            } else if url.ends_with('/') || url.contains('?') {
                wrong("/apiUrl", "without a slash at the end and without a query");
            }
        }
        // A token is for the address that it was given with.
        let moved = known.is_some_and(|known| known.api_url != request.api_url);
        if moved && request.token.is_none() && !secrets.token.is_empty() {
            wrong("/token", "with another `apiUrl` the token is given anew");
        }
        if request.own_user_id.as_ref().is_some_and(|id| !is_external_id(id)) {
            wrong("/ownUserId", &format!("1 to {EXTERNAL_ID_BYTES_MAX} visible characters"));
        }
        if request.reply && request.provider == Provider::Github && request.own_user_id.is_none() {
            wrong("/ownUserId", "the id of the account that answers, or it would answer itself");
        }
        if request.reply && request.provider != Provider::Twilio && secrets.token.is_empty() {
            wrong("/token", "what replies are sent with");
        }
        if issues.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Code::ValidationFailed, "the channel is not valid").issues(issues))
    }

    async fn channel(
        &self,
        caller: &Caller,
        request: &PutChannel,
        secrets: &ChannelSecrets,
    ) -> Answer<StoredChannel> {
        let above = caller.key_made_by.iter().flat_map(KeyMaker::ids).cloned().collect();
        let key = keys::channels(&caller.workspace);
        Ok(StoredChannel {
            channel_key: request.channel_key.clone(),
            provider: request.provider,
            api_url: request.api_url.clone(),
            sources: request.sources.clone(),
            own_user_id: request.own_user_id.clone(),
            rules: request.rules.clone(),
            reply: request.reply,
            made_by: KeyMaker { actor: caller.actor.clone(), key_id: caller.key_id.clone(), above },
            updated_at: self.base.now(),
            secrets: self.vault.wrap(&key, &encode(secrets)?).await?,
            has: secrets.names(),
        })
    }

    fn view(&self, workspace: &WorkspaceId, channel: &StoredChannel) -> Answer<ChannelView> {
        let view = ChannelView {
            channel_key: channel.channel_key.clone(),
            provider: channel.provider.into(),
            url: self.url(workspace, channel.provider, &channel.channel_key),
            api_url: channel.api_url.clone(),
            sources: channel.sources.clone(),
            own_user_id: channel.own_user_id.clone(),
            rules: channel.rules.clone(),
            reply: channel.reply,
            actor_id: channel.actor().id,
            secrets: channel.has.clone(),
            digest: contracts::Digest::zero(),
            updated_at: channel.updated_at,
        };
        let digest = canonical::digest(&view).map_err(crate::not_canonical)?;
        Ok(ChannelView { digest, ..view })
    }

    /// Where a provider sends to. The last dot is ours: a channel's key has none.
    pub(crate) fn url(&self, workspace: &WorkspaceId, provider: Provider, key: &str) -> String {
        format!("{}/v1/channels/{provider}/{workspace}.{key}", self.base.config.public_url)
    }
}

// What a repetition of the command is told by: everything but the secrets, of which a record would
// tell too much.
fn public(request: &PutChannel) -> PutChannel {
    let hidden = |secret: &Option<String>| secret.as_ref().map(|_| String::new());
    PutChannel {
        signing_secret: hidden(&request.signing_secret),
        token: hidden(&request.token),
        verify_token: hidden(&request.verify_token),
        ..request.clone()
    }
}

fn check_key(key: &str) -> Vec<Issue> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(plain) {
        return Vec::new();
    }
    let message = format!("1 to {KEY_BYTES_MAX} lower-case letters, digits and `-`");
    vec![Issue::new("/channelKey", message)]
}

fn check_secrets(request: &PutChannel, secrets: &ChannelSecrets) -> Vec<Issue> {
    let mut issues = Vec::new();
    let signs = secrets.signing_secret.len();
    if !(SIGNING_SECRET_BYTES_MIN..=CHANNEL_SECRET_BYTES_MAX).contains(&signs) {
        let message = format!("{SIGNING_SECRET_BYTES_MIN} to {CHANNEL_SECRET_BYTES_MAX} bytes");
        issues.push(Issue::new("/signingSecret", message));
    }
    for (pointer, given) in [("/token", &request.token), ("/verifyToken", &request.verify_token)] {
        let visible = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = |token: &String| (1..=CHANNEL_SECRET_BYTES_MAX).contains(&token.len());
        if given.as_ref().is_some_and(|token| !fits(token) || !visible(token)) {
            let message = format!("1 to {CHANNEL_SECRET_BYTES_MAX} visible ASCII characters");
            issues.push(Issue::new(pointer, message));
        }
    }
    issues
}

fn check_sources(provider: Provider, sources: &[ChannelSource]) -> Vec<Issue> {
    let mut issues = Vec::new();
    if !(1..=CHANNEL_SOURCES_MAX).contains(&sources.len()) {
        issues.push(Issue::new("/sources", format!("1 to {CHANNEL_SOURCES_MAX} sources")));
    }
    for (index, source) in sources.iter().take(CHANNEL_SOURCES_MAX).enumerate() {
        let mut wrong = |field: &str, message: String| {
            issues.push(Issue::new(format!("/sources/{index}/{field}"), message));
        };
        if source.channels.len() > CHANNEL_SOURCES_MAX {
            wrong("channels", format!("at most {CHANNEL_SOURCES_MAX}"));
        }
        let ids = source.channels.iter().take(CHANNEL_SOURCES_MAX).map(|id| ("channels", id));
        for (field, id) in ids.chain([("team", &source.team)]) {
            if !is_external_id(id) {
                wrong(field, format!("1 to {EXTERNAL_ID_BYTES_MAX} visible characters"));
            }
        }
        if source.team == "*" && (provider != Provider::Telegram || !source.channels.is_empty()) {
            wrong("team", "only of Telegram, alone, `*` is any chat".into());
        }
    }
    issues
}

fn is_external_id(id: &str) -> bool {
    (1..=EXTERNAL_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

fn check_all(channels: &[StoredChannel]) -> Answer<()> {
    if channels.len() > CHANNELS_MAX {
        let message = format!("a workspace has at most {CHANNELS_MAX} channels");
        return Err(Problem::new(Code::Conflict, message));
    }
    if encode(&channels)?.len() > CHANNELS_BYTES_MAX {
        let message =
            format!("the channels of a workspace take at most {CHANNELS_BYTES_MAX} bytes together");
        return Err(Problem::new(Code::Conflict, message));
    }
    Ok(())
}
