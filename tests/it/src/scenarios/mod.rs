//! The scenarios: each runs on the embedded server and on the deployed stack, and leaves the same
//! traces except for times and identifiers.

pub mod governance;
pub mod http;
pub mod runs;
pub mod skills;

use crate::{Client, TestServer};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

/// Calls a macro with the path of every scenario: this is the only list of them.
#[macro_export]
macro_rules! every_scenario {
    ($with:ident) => {
        $with! {
            runs::an_autonomous_plan_runs_and_leaves_a_whole_trace,
            runs::an_approval_of_one_step_runs_that_step,
            runs::approvals_are_bound_once_and_never_ones_own,
            runs::the_same_command_twice_has_one_effect_and_one_answer,
            runs::lost_answers_are_repeated_probed_or_put_before_people,
            runs::a_tool_that_answers_later_calls_back_with_its_warrant,
            runs::a_failed_step_fails_what_depends_on_it_and_can_be_tried_again,
            runs::pause_resume_cancel_and_abort,
            runs::cancelling_with_compensation_undoes_in_reverse_order,
            runs::conditions_skip_and_playbooks_need_no_model,
            runs::manual_and_dry_runs_start_nothing,
            runs::a_disabled_skill_stops_what_has_not_begun,
            http::listings_page_newest_first_and_filter,
            http::tenant_walls,
            runs::a_thousand_steps_run,
            http::every_case_is_a_clear_problem_and_writes_nothing,
            http::a_draft_that_is_no_plan_is_recorded_with_all_its_diagnostics,
            http::credentials,
            http::edges_of_http,
            skills::refused_skills_never_occupy_the_version,
            skills::what_is_trusted_no_longer_is_no_longer_used,
            governance::policies_are_governed,
            governance::attack_policy_swapped_between_verify_start_approval_and_claim,
            governance::attack_skill_swapped_after_approval,
            governance::attack_budget_split_over_many_small_steps,
            governance::freezes_hold_for_the_next_claim,
            governance::attack_untrusted_text_reaches_no_sink_alone,
            governance::attack_label_laundering_through_a_pass_through_step,
            governance::tools_take_warrants_and_nothing_else,
        }
    };
}

/// One scenario. It panics if an expectation fails.
pub type Scenario = for<'h> fn(&'h TestServer) -> BoxFuture<'h, ()>;

macro_rules! by_name {
    ($($module:ident::$name:ident,)*) => {
        /// Every scenario by its name.
        pub const SCENARIOS: &[(&str, Scenario)] =
            &[$((stringify!($name), |server| Box::pin($module::$name(server)))),*];
    };
}

every_scenario!(by_name);

pub(crate) fn find(id: &str, email: &str) -> Value {
    json!({ "id": id, "use": "crm/customer.find", "with": { "email": email } })
}

pub(crate) fn send(id: &str, body: Value) -> Value {
    json!({ "id": id, "use": "mail/message.send",
        "with": { "to": ["a@x.org"], "subject": "hi", "body": body } })
}

pub(crate) fn pay(id: &str) -> Value {
    json!({ "id": id, "use": "payments/payout.create",
        "with": { "account": "DE02", "amount": 5, "currency": "EUR" } })
}

pub(crate) fn step<'v>(view: &'v Value, id: &str) -> &'v Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["stepId"] == id).unwrap()
}
