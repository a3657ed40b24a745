//! Access: who may call. API keys and subscriptions of a workspace over HTTP; workspaces themselves only by direct
//! invocation, whose authority is the deployment's own.

use contracts::{
    Code, Problem, WorkspaceId,
    access::CreateKey,
    endpoint::named,
    event::{Actor, ActorKind},
};
use edge::Routes;
use engine::{
    Answer, Engine,
    access::{agent_grants, approver_grants},
};
use serde_json::{Value, json};

/// Life of a workspace's first keys, in milliseconds: 90 days. They are for making others.
const FIRST_KEYS_MS: i64 = 90 * 86_400_000;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .serve(const { named("key.create") }, |engine, caller, request| async move {
            engine.create_key(&caller, request).await
        })
        .serve(const { named("key.list") }, |engine, caller, request| async move {
            engine.list_keys(&caller, request).await
        })
        .serve(const { named("key.revoke") }, |engine, caller, request| async move {
            engine.revoke_key(&caller, request).await
        })
        .serve(const { named("subscription.create") }, |engine, caller, request| async move {
            engine.create_webhook(&caller, request).await
        })
        .serve(const { named("subscription.list") }, |engine, caller, request| async move {
            engine.list_webhooks(&caller, request).await
        })
        .serve(const { named("subscription.remove") }, |engine, caller, request| async move {
            engine.remove_webhook(&caller, request).await
        })
        .serve(const { named("subscription.secret.rotate") }, |engine, caller, request| async move {
            engine.rotate_webhook(&caller, request).await
        })
        .serve(const { named("tool.secret.rotate") }, |engine, caller, request| async move {
            engine.rotate_tool_secret(&caller, request).await
        })
        .answer(const { named("health") }, |_, _| async { Ok(json!({ "status": "ok" })) })
}

/// Its task: `{"task": "createWorkspace", "workspaceId"}` makes a workspace and its first two keys: `{"workspaceId",
/// "agentKey", "approverKey"}`. They are shown this once: of a workspace that has keys nobody gets more this way.
pub async fn task(engine: &Engine, payload: &Value) -> Answer<Value> {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("task") != "createWorkspace" {
        return Err(Problem::new(Code::BadRequest, "the task is `createWorkspace`"));
    }
    let invalid = |_| Problem::new(Code::ValidationFailed, "`workspaceId` is not one");
    let workspace: WorkspaceId = text("workspaceId").parse().map_err(invalid)?;
    if !engine.create_workspace(&workspace).await? && engine.has_keys(&workspace).await? {
        let message = "the workspace exists; its first keys were shown when it was made. Make others with `/v1/keys`";
        return Err(Problem::new(Code::Conflict, message));
    }
    let (agent, approver) = create_workspace(engine, &workspace).await?;
    Ok(json!({ "workspaceId": workspace, "agentKey": agent, "approverKey": approver }))
}

/// Makes a workspace if it is not there, and two new keys: of an agent backend, and of a person who approves.
pub async fn create_workspace(engine: &Engine, workspace: &WorkspaceId) -> Answer<(String, String)> {
    engine.create_workspace(workspace).await?;
    let expires_at = Some(engine.now().plus_ms(FIRST_KEYS_MS));
    let key = |kind, id: &str, grants| CreateKey { actor: Actor { kind, id: id.into() }, grants, expires_at };
    let agent = key(ActorKind::Agent, "dev-agent", agent_grants());
    let approver = key(ActorKind::Human, "dev-approver", approver_grants());
    let (_, agent) = engine.deploy_key(workspace, agent).await?;
    let (_, approver) = engine.deploy_key(workspace, approver).await?;
    Ok((agent, approver))
}
