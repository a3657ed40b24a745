//! Authorize: the gateway's door. Who has no valid API key gets 401, whose key lacks the grant of a
//! route 403. The functions behind it look at the key again (INVARIANT identity-from-transport): a
//! cached answer of the gateway never outlives a revoked key by more than a refusal.

use contracts::endpoint::{self, Auth};
use engine::Engine;
use serde_json::{Value, json};

/// Answers a request authorizer's event: an IAM policy for every route the key's grants cover.
/// `None`: 401.
pub async fn authorize(
    engine: &Engine,
    event: &Value,
) -> Result<Option<Value>, contracts::Problem> {
    let header = |name: &str| {
        let headers = event.get("headers").and_then(Value::as_object)?;
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.as_str())
    };
    let token = header("authorization").and_then(|value| value.split_once(' '));
    let token = token
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let caller = match engine.access.authenticate(token).await {
        Ok(caller) => caller,
        Err(problem) if problem.status == 401 => return Ok(None),
        Err(problem) => return Err(problem),
    };
    // arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>
    let arn = event.get("methodArn").and_then(Value::as_str).unwrap_or_default();
    let mut words = arn.splitn(3, '/');
    let (Some(api), Some(stage)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let allowed: Vec<String> = endpoint::all()
        .filter(|endpoint| endpoint.auth == Auth::ApiKey)
        .filter(|endpoint| caller.require_endpoint(endpoint).is_ok())
        .map(|endpoint| {
            format!("{api}/{stage}/{}{}", endpoint.method.as_str(), pattern(endpoint.path))
        })
        .collect();
    let mut statements = vec![];
    if !allowed.is_empty() {
        statements.push(
            json!({ "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": allowed }),
        );
    } else {
        statements.push(json!({ "Effect": "Deny", "Action": "execute-api:Invoke",
                "Resource": format!("{api}/{stage}/*") }));
    }
    Ok(Some(json!({
        "principalId": caller.actor.id,
        "policyDocument": { "Version": "2012-10-17", "Statement": statements },
        "context": { "workspaceId": caller.workspace, "actorId": caller.actor.id },
    })))
}

// `{executionId}` → `*`
fn pattern(path: &str) -> String {
    let words = path.split('/').map(|word| if word.starts_with('{') { "*" } else { word });
    words.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn parameters_become_wildcards() {
        assert_eq!(
            super::pattern("/v1/executions/{executionId}/approve"),
            "/v1/executions/*/approve"
        );
    }
}
