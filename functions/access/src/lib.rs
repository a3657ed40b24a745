//! Access: who may call. API keys and subscriptions of a workspace over HTTP; workspaces themselves
//! only by direct invocation, whose authority is the deployment's own.

mod mandate;
mod sign_in;

use contracts::{
    Code, Problem, WorkspaceId,
    access::CreateKey,
    endpoint::{named, page},
    event::{Actor, ActorKind},
};
use edge::Routes;
use engine::{Answer, Engine, agent_grants, approver_grants};
use serde_json::{Value, json};

/// Life of a workspace's first keys, in milliseconds: 90 days. They are for making others.
const FIRST_KEYS_MS: i64 = 90 * 86_400_000;

/// Its routes.
pub fn routes() -> Routes {
    sign_in::routes()
        .merge(directory())
        .serve(const { named("key.create") }, |engine, caller, request| async move {
            engine.access.create_key(&caller, request).await
        })
        .serve(const { named("key.list") }, |engine, caller, request| async move {
            engine.access.list_keys(&caller, request).await
        })
        .serve(const { named("key.revoke") }, |engine, caller, request| async move {
            engine.access.revoke_key(&caller, request).await
        })
        .serve(const { named("mandate.create") }, |engine, caller, request| async move {
            engine.mandates.create(&caller, request).await
        })
        .serve(const { named("mandate.revoke") }, |engine, caller, request| async move {
            engine.mandates.revoke(&caller, request).await
        })
        .serve(const { named("link.revoke") }, |engine, caller, request| async move {
            engine.links.revoke(&caller, request).await
        })
        .serve(const { named("subscription.create") }, |engine, caller, request| async move {
            engine.subscriptions.create_webhook(&caller, request).await
        })
        .serve(const { named("subscription.remove") }, |engine, caller, request| async move {
            engine.subscriptions.remove_webhook(&caller, request).await
        })
        .serve(
            const { named("subscription.secret.rotate") },
            |engine, caller, request| async move {
                engine.subscriptions.rotate_webhook(&caller, request).await
            },
        )
        .serve(const { named("tool.secret.rotate") }, |engine, caller, request| async move {
            engine.access.rotate_tool_secret(&caller, request).await
        })
        .form(const { named("console.mandate.create") }, |engine, visit, form| async move {
            mandate::create(&engine, &visit, form).await
        })
        .act(
            const { named("console.mandate.revoke") },
            const { page("console.mandates") },
            |engine, caller, request| async move {
                engine.mandates.revoke(&caller, request).await
            },
        )
        .act(
            const { named("console.key.revoke") },
            const { page("console.people") },
            |engine, caller, request| async move {
                engine.access.revoke_key(&caller, request).await
            },
        )
        .serve(const { named("channel.put") }, |engine, caller, request| async move {
            engine.channels.put(&caller, request).await
        })
        .serve(const { named("channel.list") }, |engine, caller, request| async move {
            engine.channels.list(&caller, request).await
        })
        .serve(const { named("channel.remove") }, |engine, caller, request| async move {
            engine.channels.remove(&caller, request).await
        })
        .answer(const { named("health") }, |_, _| async { Ok(json!({ "status": "ok" })) })
}

// Who is who, and how people sign in.
fn directory() -> Routes {
    Routes::new()
        .serve(const { named("person.put") }, |engine, caller, request| async move {
            engine.access.put_person(&caller, request).await
        })
        .serve(const { named("person.remove") }, |engine, caller, request| async move {
            engine.access.remove_person(&caller, request).await
        })
        .serve(const { named("person.list") }, |engine, caller, request| async move {
            engine.access.list_persons(&caller, request).await
        })
        .serve(const { named("group.put") }, |engine, caller, request| async move {
            engine.access.put_group(&caller, request).await
        })
        .serve(const { named("group.list") }, |engine, caller, request| async move {
            engine.access.list_groups(&caller, request).await
        })
        .serve(const { named("sign-in.set") }, |engine, caller, request| async move {
            engine.access.set_sign_in(&caller, request).await
        })
        .serve(const { named("sign-in.get") }, |engine, caller, request| async move {
            engine.access.sign_in_rules(&caller, request).await
        })
}

/// Its task: `{"task": "createWorkspace", "workspaceId"}` makes a workspace and its first two keys:
/// `{"workspaceId", "agentKey", "approverKey"}`. They are shown this once: of a workspace that has
/// keys nobody gets more this way.
pub async fn task(engine: &Engine, payload: &Value) -> Answer<Value> {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("task") != "createWorkspace" {
        return Err(Problem::new(Code::BadRequest, "the task is `createWorkspace`"));
    }
    let invalid = |_| Problem::new(Code::ValidationFailed, "`workspaceId` is not one");
    let workspace: WorkspaceId = text("workspaceId").parse().map_err(invalid)?;
    if !engine.access.create_workspace(&workspace).await?
        && engine.access.has_keys(&workspace).await?
    {
        let message = "the workspace exists; its first keys were shown when it was made. Make \
            others with `/v1/keys`";
        return Err(Problem::new(Code::Conflict, message));
    }
    let (agent, approver) = create_workspace(engine, &workspace).await?;
    Ok(json!({ "workspaceId": workspace, "agentKey": agent, "approverKey": approver }))
}

/// Makes a workspace if it is not there, and two new keys: of an agent backend, and of a person who
/// approves.
pub async fn create_workspace(
    engine: &Engine,
    workspace: &WorkspaceId,
) -> Answer<(String, String)> {
    engine.access.create_workspace(workspace).await?;
    let expires_at = Some(engine.now().plus_ms(FIRST_KEYS_MS));
    let key = |kind, id: &str, grants| CreateKey {
        actor: Some(Actor { kind, id: id.into() }),
        person: None,
        grants,
        expires_at,
    };
    let agent = key(ActorKind::Agent, "dev-agent", agent_grants());
    let approver = key(ActorKind::Human, "dev-approver", approver_grants());
    let (_, agent) = engine.access.deploy_key(workspace, agent).await?;
    let (_, approver) = engine.access.deploy_key(workspace, approver).await?;
    Ok((agent, approver))
}
