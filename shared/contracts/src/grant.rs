//! Grants: what a key may do. A grant that is not listed here, and that no installed operation asks
//! for, does not exist.

use crate::endpoint;
use std::collections::BTreeSet;

/// How every grant of the contract begins.
pub const PREFIX: &str = "control-plane.";

/// The umbrella over approve and reject.
pub const APPROVAL: &str = "control-plane.approval";
/// Steps of one's intents may run without people, where policy says so.
pub const AUTONOMOUS: &str = "control-plane.execution.autonomous";
/// Where steps may not run without people, people are asked.
pub const APPROVAL_REQUEST: &str = "control-plane.approval.request";
/// What the other grants allow holds for everybody's executions, and for what the workspace shows
/// as a whole. Keys of people and services need it not; keys of agents and tools see and steer only
/// what they asked for themselves without it.
pub const ANY_EXECUTION: &str = "control-plane.execution.any";

/// What approve and reject are called one by one.
const UNDER_APPROVAL: [&str; 2] =
    ["control-plane.execution.approve", "control-plane.execution.reject"];
/// Grants that no endpoint asks for.
const BESIDE_ENDPOINTS: [&str; 4] = [APPROVAL, AUTONOMOUS, APPROVAL_REQUEST, ANY_EXECUTION];

/// Every grant of the contract.
pub fn known() -> BTreeSet<String> {
    let offered = endpoint::all().filter(|endpoint| endpoint.offered);
    let asked = offered.filter_map(endpoint::Endpoint::grant_key);
    asked.chain(BESIDE_ENDPOINTS.into_iter().map(str::to_owned)).collect()
}

/// Whether what is held covers a grant.
pub fn covers(held: &BTreeSet<String>, grant: &str) -> bool {
    held.contains(grant) || (UNDER_APPROVAL.contains(&grant) && held.contains(APPROVAL))
}

/// Whether what is held covers a grant that is to be handed on: an umbrella also by all that is
/// under it.
pub fn covers_whole(held: &BTreeSet<String>, grant: &str) -> bool {
    covers(held, grant)
        || (grant == APPROVAL && UNDER_APPROVAL.iter().all(|under| held.contains(*under)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umbrella_covers_what_is_under_it_and_nothing_else() {
        let held = BTreeSet::from([APPROVAL.to_owned()]);
        assert!(
            covers(&held, "control-plane.execution.approve")
                && covers(&held, "control-plane.execution.reject")
        );
        assert!(!covers(&held, "control-plane.execution.resolve") && !covers(&held, ""));
        let one = BTreeSet::from(["control-plane.execution.approve".to_owned()]);
        assert!(!covers_whole(&one, APPROVAL));
        assert!(known().contains("control-plane.keys") && !known().contains("control-plane.*"));
    }
}
