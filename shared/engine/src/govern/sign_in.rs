//! Signing in by the deployment's identity provider (OpenID Connect): authorization code, PKCE,
//! state and nonce.
//!
//! INVARIANT (get-never-mutates): what is under way is kept by the browser ([`cs_core::flow`]), and
//! finished by a form. INVARIANT (identity-from-transport): the provider names an issuer and a
//! subject, and the directory whom they mean; no name and no mail address means anybody.
//! INVARIANT (fail-closed): a sign-in is finished once, by the browser that began it.

use crate::{
    Access, Answer, Base, Caller, Parts, SessionOpened, Sessions, actor, boxed,
    govern::{
        directory::refused,
        sessions::{Holder, NewSession, ProviderSession, refuse},
    },
    ports::{ProviderError, ProviderIdentity, SignInBegun, SignInReturned},
};
use contracts::{
    Code, ExecutionId, Issue, Problem, WorkspaceId,
    directory::{OidcIdentity, Person},
    event::{ActorKind, SessionRefused, SessionStarted, SignInMethod, WorkspaceEvent},
    id::ApprovalId,
    limits::{SECOND_FACTOR_LIFE_MS, SIGN_IN_FLOW_LIFE_MS},
};
use countersign_store::{Author, Change, Condition, Item, PortError, Record, Write, keys};
use cs_core::{
    canonical,
    directory::Directory,
    flow::{Decided, Flow, FlowKey, Purpose},
    trace::Stamp,
};
use std::sync::Arc;

/// How who signs in so was authenticated.
const CHANNEL: &str = "oidc";
/// Where the provider leads browsers back to.
const RETURN: &str = "/console/sign-in/return";
/// How who is nobody is called in the log, and how many digits of their identity's digest follow.
const STRANGER: &str = "oidc-";
const STRANGER_CHARS: usize = 20;

/// Sign-ins by the identity provider.
pub struct SignIns {
    base: Arc<Base>,
    access: Arc<Access>,
    sessions: Arc<Sessions>,
}

/// A browser on its way to the provider.
pub struct Departure {
    /// The provider's page.
    pub url: String,
    /// What the browser keeps meanwhile.
    pub token: String,
    pub life_seconds: i64,
}

/// A browser that comes back.
#[derive(Clone, Debug, Default)]
pub struct Returned {
    /// What it kept.
    pub token: Option<String>,
    /// What the provider says in the address.
    pub state: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
}

/// What came of a sign-in.
pub enum Arrived {
    /// A session. `to`: a page of the console to begin with.
    SignedIn { opened: SessionOpened, to: Option<String> },
    /// A second factor, for a decision in this browser, and where the person came from: the page of
    /// an execution, or of a link by its token.
    Confirmed { token: String, life_seconds: i64, execution: ExecutionId, link: Option<String> },
}

impl SignIns {
    pub(crate) fn new(parts: &Parts, (access, sessions): (Arc<Access>, Arc<Sessions>)) -> Self {
        Self { base: parts.base.clone(), access, sessions }
    }

    /// Begins a sign-in. Writes nothing: who signs in is not known yet.
    #[boxed]
    pub async fn begin(&self, workspace: WorkspaceId, to: Option<String>) -> Answer<Departure> {
        self.depart(workspace, Purpose::SignIn { to }, false).await
    }

    /// Begins what a decision needs as a second factor. `link`: the token of the approval link by
    /// whose page the person came.
    #[boxed]
    pub async fn begin_second_factor(
        &self,
        caller: &Caller,
        (execution, approval): (ExecutionId, ApprovalId),
        link: Option<String>,
    ) -> Answer<Departure> {
        let issuer = self.issuer()?;
        let workspace = &caller.workspace;
        let directory = self.access.in_force.directory(workspace).await?;
        let person = directory.person_of(&caller.actor.id);
        let known = person.filter(|one| one.oidc.as_ref().is_some_and(|own| own.issuer == issuer));
        let Some(person) = known.filter(|_| caller.actor.kind == ActorKind::Human) else {
            let message = "the directory does not say as whom the identity provider knows you";
            let what = format!(
                "ask who keeps the directory to add it: countersign person put YOUR-ID --oidc \
                 \"{issuer} YOUR-SUBJECT\""
            );
            return Err(Problem::new(Code::Forbidden, message).issue(Issue::new("", what)));
        };
        let decided = Decided {
            person_id: person.id.clone(),
            execution_id: execution,
            approval_id: approval,
            link,
        };
        let purpose = Purpose::SecondFactor(Box::new(decided));
        self.depart(workspace.clone(), purpose, true).await
    }

    // INVARIANT (fail-closed): of this person, whoever else signed in.
    async fn confirm(
        &self,
        flow: &Flow,
        decided: &Decided,
        identity: &ProviderIdentity,
    ) -> Answer<Arrived> {
        let workspace = &flow.workspace_id;
        let about = (&decided.execution_id, &decided.approval_id);
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let stored = self.access.in_force.stored_directory(workspace).await?;
            let known = stored.value.person_of_oidc(&identity.issuer, &identity.subject);
            let Some(person) = known.filter(|person| person.id == decided.person_id) else {
                return Err(self.refuse_another(workspace, known, identity).await?);
            };
            let made = self.base.new_second_factor(workspace, &person.id, about)?;
            let (token, write) = made;
            let mut change = Change::none(token);
            change.writes = vec![write, self.finished(flow)];
            let after = stored.value.without_lost_claims(&person.id, &identity.groups);
            self.put_directory(workspace, (&stored, &after), &person.id, &mut change)?;
            let author = self.author(workspace, &person.id);
            if let Some(token) = self.base.store.try_change(&author, change, None).await? {
                return Ok(Arrived::Confirmed {
                    token,
                    life_seconds: SECOND_FACTOR_LIFE_MS / 1_000,
                    execution: decided.execution_id.clone(),
                    link: decided.link.clone(),
                });
            }
            self.must_be_unfinished(flow).await?;
        }
    }

    // Whoever signed in is not who decides.
    async fn refuse_another(
        &self,
        workspace: &WorkspaceId,
        known: Option<&Person>,
        identity: &ProviderIdentity,
    ) -> Answer<Problem> {
        let problem = Problem::new(
            Code::Forbidden,
            "another person signed in than the one who decides; nothing was decided",
        );
        let oidc =
            OidcIdentity { issuer: identity.issuer.clone(), subject: identity.subject.clone() };
        let id = known.map_or_else(|| stranger(&oidc), |person| person.id.clone());
        self.record_refused(workspace, (&id, oidc), &problem).await?;
        Ok(problem)
    }

    // INVARIANT (fail-closed): a sign-in is finished once.
    async fn must_be_unfinished(&self, flow: &Flow) -> Answer<()> {
        let done = keys::finished_flow(&flow.workspace_id, &flow.digest());
        match self.base.store.get(&done).await? {
            Some(_) => Err(refuse(USED)),
            None => Ok(()),
        }
    }

    async fn depart(
        &self,
        workspace: WorkspaceId,
        purpose: Purpose,
        fresh: bool,
    ) -> Answer<Departure> {
        self.issuer()?;
        let flow = Flow {
            audience: self.base.config.public_url.clone(),
            workspace_id: workspace,
            purpose,
            begun_at: self.base.now(),
            id: hex::encode(self.base.ports.ids.secret()),
        };
        let key = self.key().await?;
        let invalid =
            || Problem::new(Code::ValidationFailed, "the address to come back to is long");
        let token = key.mint(&flow).ok().flatten().ok_or_else(invalid)?;
        let secrets = key.secrets(&flow);
        let begun = SignInBegun {
            state: secrets.state,
            nonce: secrets.nonce,
            verifier: secrets.verifier,
            redirect_uri: self.redirect_uri(),
            fresh,
        };
        let url = self.base.ports.identity.begin(begun).await.map_err(failed)?;
        Ok(Departure { url, token, life_seconds: SIGN_IN_FLOW_LIFE_MS / 1_000 })
    }

    /// Finishes what this browser began.
    #[boxed]
    pub async fn finish(&self, returned: Returned) -> Answer<Arrived> {
        self.issuer()?;
        let (flow, code) = self.check_returned(&returned).await?;
        self.must_be_unfinished(&flow).await?;
        let secrets = self.key().await?.secrets(&flow);
        let fresh_since = match flow.purpose {
            Purpose::SignIn { .. } => None,
            Purpose::SecondFactor(_) => Some(flow.begun_at),
        };
        let asked = SignInReturned {
            code,
            nonce: secrets.nonce,
            verifier: secrets.verifier,
            redirect_uri: self.redirect_uri(),
            fresh_since,
            now: self.base.now(),
        };
        let identity = self.base.ports.identity.finish(asked).await.map_err(failed)?;
        match &flow.purpose {
            Purpose::SignIn { to } => {
                let opened = self.sign_in(&flow, &identity).await?;
                Ok(Arrived::SignedIn { opened, to: to.clone() })
            }
            Purpose::SecondFactor(decided) => self.confirm(&flow, decided, &identity).await,
        }
    }

    // The flow that the browser kept, if what came back is its own, and the provider's code.
    async fn check_returned(&self, returned: &Returned) -> Answer<(Flow, String)> {
        let token = returned.token.as_deref().ok_or_else(|| refuse(FOREIGN))?;
        let key = self.key().await?;
        let flow = key.verify(token, &self.base.config.public_url, self.base.now());
        let flow = flow.map_err(|error| refuse(&format!("{error}; begin again")))?;
        let state = returned.state.as_deref().unwrap_or_default();
        if !key.is_state(&flow, state) {
            return Err(refuse(FOREIGN));
        }
        if let Some(error) = &returned.error {
            let shown: String = error.chars().take(80).collect();
            return Err(failed(ProviderError::Refused(format!("it says `{shown}`"))));
        }
        let code = returned.code.clone().ok_or_else(|| refuse(FOREIGN))?;
        Ok((flow, code))
    }

    async fn sign_in(&self, flow: &Flow, identity: &ProviderIdentity) -> Answer<SessionOpened> {
        let workspace = &flow.workspace_id;
        let mut tries = self.base.store.tries();
        loop {
            tries.next().await?;
            let stored = self.access.in_force.stored_directory(workspace).await?;
            let person = self.person(workspace, &stored.value, identity).await?;
            let change = self.change(flow, identity, (&stored, &person)).await?;
            let author = self.author(workspace, &person);
            if let Some(opened) = self.base.store.try_change(&author, change, None).await? {
                return Ok(opened);
            }
            self.must_be_unfinished(flow).await?;
        }
    }

    // Whom the provider named, or why that is nobody.
    async fn person(
        &self,
        workspace: &WorkspaceId,
        directory: &Directory,
        identity: &ProviderIdentity,
    ) -> Answer<String> {
        let ProviderIdentity { issuer, subject, .. } = identity;
        if let Some(person) = directory.person_of_oidc(issuer, subject) {
            return Ok(person.id.clone());
        }
        let oidc = OidcIdentity { issuer: issuer.clone(), subject: subject.clone() };
        let problem = unknown(workspace, &oidc);
        self.record_refused(workspace, (&stranger(&oidc), oidc), &problem).await?;
        Err(problem)
    }

    // The session, what it changes in the directory, and that this sign-in is finished.
    async fn change(
        &self,
        flow: &Flow,
        identity: &ProviderIdentity,
        (stored, person): (&Record<Directory>, &str),
    ) -> Answer<Change<SessionOpened>> {
        let directory = &stored.value;
        let workspace = &flow.workspace_id;
        let since = directory.added_at(person).ok_or_else(countersign_store::busy)?;
        let (keys, _) = self.access.grants_of(workspace, (person, since)).await?;
        let oidc =
            OidcIdentity { issuer: identity.issuer.clone(), subject: identity.subject.clone() };
        let session =
            ProviderSession { person: person.to_owned(), since, oidc: oidc.clone(), keys };
        let new = self.sessions.new_session(workspace, Holder::Person(session))?;
        let NewSession { opened, ends_at, name, write } = new;
        let after = directory.with_claims(person, &identity.groups, ends_at).map_err(refused)?;
        let started = WorkspaceEvent::SessionStarted(SessionStarted {
            key: name,
            at: self.base.now(),
            actor_id: person.to_owned(),
            method: SignInMethod::Oidc,
            expires_at: ends_at,
            key_id: None,
            oidc: Some(oidc),
            groups: after.claimed_by(person).into_iter().collect(),
        });
        let mut change = Change::new(opened, started, vec![write, self.finished(flow)]);
        self.put_directory(workspace, (stored, &after), person, &mut change)?;
        Ok(change)
    }

    // The directory after what the provider said. Where the person has the groups that they had,
    // for longer, the session's own event says so, and no decision is looked at anew.
    fn put_directory<R>(
        &self,
        workspace: &WorkspaceId,
        (stored, after): (&Record<Directory>, &Directory),
        person: &str,
        change: &mut Change<R>,
    ) -> Answer<()> {
        let key = keys::directory(workspace);
        if *after == stored.value {
            change.writes.push(Write::Check { key, condition: stored.unchanged() });
        } else if after.claimed_by(person) == stored.value.claimed_by(person) {
            change.writes.push(stored.replace(key, after)?);
        } else {
            let entry = format!("person {person}");
            let said = (person, entry, Some("what the identity provider said".to_owned()));
            let (event, writes) = self.base.directory_writes(workspace, (stored, after), said)?;
            change.events.push(event);
            change.writes.extend(writes);
        }
        Ok(())
    }

    // INVARIANT (same-command-twice): in the transaction of what it is about.
    fn finished(&self, flow: &Flow) -> Write {
        let ends = flow.begun_at.plus_ms(2 * SIGN_IN_FLOW_LIFE_MS).ms() / 1_000;
        let item = Item { version: 1, expires_at: Some(ends), ..Item::default() };
        let key = keys::finished_flow(&flow.workspace_id, &flow.digest());
        Write::Put { key, item, condition: Condition::NotExists }
    }

    async fn record_refused(
        &self,
        workspace: &WorkspaceId,
        (id, oidc): (&str, OidcIdentity),
        problem: &Problem,
    ) -> Answer<()> {
        // Anybody may name a workspace that is not there: it has no log.
        match self.access.in_force.settings(workspace).await {
            Ok(_) => {}
            Err(problem) if problem.code == Code::NotFound => return Ok(()),
            Err(problem) => return Err(problem),
        }
        let refused = SessionRefused {
            key: "console".into(),
            at: self.base.now(),
            actor_id: id.to_owned(),
            method: SignInMethod::Oidc,
            key_id: None,
            oidc: Some(oidc),
            reason: problem.detail.clone(),
            unrecorded: None,
        };
        let event = |unrecorded| {
            WorkspaceEvent::SessionRefused(SessionRefused { unrecorded, ..refused.clone() })
        };
        self.base.record_refusal(&self.author(workspace, id), event).await
    }

    fn author(&self, workspace: &WorkspaceId, person: &str) -> Author {
        let stamp = Stamp::new(self.base.now(), actor(ActorKind::Human, person), None);
        let stamp = Stamp { channel: Some(CHANNEL.into()), ..stamp };
        Author { workspace: workspace.clone(), stamp, idempotency_key: None }
    }

    fn issuer(&self) -> Answer<&str> {
        self.base.config.issuer.as_deref().ok_or_else(|| {
            let message = "no identity provider is set up here: sign in with an API key";
            Problem::new(Code::NotFound, message)
        })
    }

    fn redirect_uri(&self) -> String {
        format!("{}{RETURN}", self.base.config.public_url)
    }

    async fn key(&self) -> Result<FlowKey, PortError> {
        Ok(FlowKey::of(self.base.ports.signer.ring().await?.as_ref()))
    }
}

const FOREIGN: &str = "this browser did not begin the sign-in that came back; begin again";
const USED: &str = "this sign-in was finished already; begin again";

// As whom a person of this identity is added.
fn stranger(oidc: &OidcIdentity) -> String {
    let parts =
        [b"countersign/oidc-person/1".as_slice(), oidc.issuer.as_bytes(), oidc.subject.as_bytes()];
    let digest = canonical::digest_parts(&parts);
    format!("{STRANGER}{}", digest.hex().chars().take(STRANGER_CHARS).collect::<String>())
}

// Who must do what, for somebody who proved who they are and is nobody here.
fn unknown(workspace: &WorkspaceId, oidc: &OidcIdentity) -> Problem {
    let OidcIdentity { issuer, subject } = oidc;
    let message = format!(
        "you signed in, and nobody in the directory of the workspace `{workspace}` has your \
         identity"
    );
    let who = format!("{issuer} knows you as the subject {subject}");
    let what = format!(
        "ask who keeps the directory to add it to you: countersign person put YOUR-ID --oidc \
         \"{issuer} {subject}\""
    );
    let issues = vec![Issue::new("", who), Issue::new("", what)];
    Problem::new(Code::Forbidden, message).issues(issues)
}

fn failed(error: ProviderError) -> Problem {
    let code = match &error {
        ProviderError::Unreached(_) => Code::Timeout,
        ProviderError::Refused(_) | ProviderError::Untrusted(_) => Code::Unauthenticated,
    };
    let retryable = matches!(error, ProviderError::Unreached(_));
    Problem { retryable, ..Problem::new(code, error.to_string()) }
}
