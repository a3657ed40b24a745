//! Every limit of the system, with its unit in the name. Checked at the edge, each with a clear error.

/// Most steps a plan may have.
pub const PLAN_STEPS_MAX: usize = 1_000;
/// Longest chain of steps that wait for one another.
pub const PLAN_DEPTH_MAX: usize = 200;
/// Largest draft, as JSON bytes.
pub const DRAFT_BYTES_MAX: usize = 256 * 1024;
/// Drafts up to this size are compiled while the caller waits; larger ones by the state machine.
pub const DRAFT_INLINE_COMPILE_BYTES_MAX: usize = 64 * 1024;
/// Largest output of a step, as JSON bytes.
pub const STEP_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Bodies above this size live in the blob store, by digest.
pub const INLINE_BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest text of an intent, reason or note, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Largest HTTP request body, in bytes: the largest manifest with room for its envelope.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects in a request.
pub const JSON_DEPTH_MAX: usize = 64;
/// Longest identifier that a caller chooses (step id, idempotency key, channel key), in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most diagnostics or issues one answer lists.
pub const ISSUES_MAX: usize = 100;
/// Most items of a listing page.
pub const PAGE_ITEMS_MAX: usize = 200;
/// Items of a listing page when the caller does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 50;
/// Longest life of an approval: 30 days.
pub const APPROVAL_LIFE_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// Life of a plan's approval when policy does not say: 24 hours.
pub const APPROVAL_LIFE_MS_DEFAULT: i64 = 24 * 3_600_000;
/// Life of an approval asked for through a channel: 15 minutes.
pub const APPROVAL_LIFE_CHANNEL_MS: i64 = 15 * 60_000;
/// Most items of one transaction (DynamoDB's number, held by every adapter).
pub const TRANSACT_ITEMS_MAX: usize = 100;
/// Largest artifact of a skill, as sent: what a request has room for beside its manifest.
pub const ARTIFACT_BYTES_MAX: usize = 700 * 1024;
/// Largest artifact of a skill, unpacked.
pub const ARTIFACT_UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files of one artifact.
pub const ARTIFACT_FILES_MAX: usize = 1_000;
/// Publishers, keys of one, prefixes of one, revoked digests, minimum versions of a trust policy: each.
pub const TRUST_ENTRIES_MAX: usize = 1_000;
/// Freezes of a workspace: every claim checks the item they are in.
pub const FREEZES_MAX: usize = 100;
/// Meters of a workspace. Each that applies is an item of the claim.
pub const METERS_MAX: usize = 8;
/// Longest window of a meter, in seconds: 31 days.
pub const METER_WINDOW_SECONDS_MAX: u64 = 31 * 86_400;
/// Largest policy set, in bytes.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Rules of a policy set.
pub const POLICY_RULES_MAX: usize = 1_000;
/// Brackets of a policy text that are open at once.
pub const POLICY_BRACKETS_MAX: usize = 32;
/// Deepest expression of a policy text, in levels: brackets, and operators that are chained.
pub const POLICY_DEPTH_MAX: usize = 64;
/// Longest `@reason` of a policy, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Groups that one `@approvers` names.
pub const APPROVER_GROUPS_MAX: usize = 10;
/// People of one group that `@approvers` asks for.
pub const APPROVERS_MAX: u32 = 20;
/// Phrases of a workspace that raise an intent's risk.
pub const RISK_PHRASES_MAX: usize = 500;
/// Longest phrase, in bytes.
pub const RISK_PHRASE_BYTES_MAX: usize = 256;
/// Words and gaps of one phrase.
pub const RISK_PHRASE_WORDS_MAX: usize = 16;
/// Days a backtest goes back.
pub const BACKTEST_DAYS_MAX: u32 = 90;
/// Changes that a backtest lists.
pub const BACKTEST_CHANGES_MAX: usize = 1_000;
/// Operations of one skill.
pub const SKILL_OPERATIONS_MAX: usize = 1_000;
/// Longest time a tool call may take, in seconds.
pub const STEP_TIMEOUT_SECONDS_MAX: u32 = 900;
/// Longest time a tool that answered 202 may take to call back, in seconds: 24 hours.
pub const CALLBACK_SECONDS_MAX: u32 = 24 * 3600;
/// Most attempts of one step.
pub const STEP_ATTEMPTS_MAX: u32 = 20;
/// Longest wait of `execution.get`, in seconds: the gateway gives up after 29.
pub const GET_WAIT_SECONDS_MAX: u32 = 25;
/// Steps that one view shows in full.
pub const VIEW_STEPS_MAX: usize = 100;
/// Values of inputs that one step of a view shows.
pub const VIEW_STEP_INPUTS_MAX: usize = 50;
/// Values of inputs that all steps of a view show together.
pub const VIEW_INPUTS_MAX: usize = 500;
/// Characters of one value of a view.
pub const VIEW_VALUE_CHARACTERS_MAX: usize = 300;
/// Characters of the intent's words in a view.
pub const VIEW_GOAL_CHARACTERS_MAX: usize = 2_000;
/// Reasons, rules, recipients, labels of one step, and steps of one path, in a view: each.
pub const VIEW_ENTRIES_MAX: usize = 20;
/// Events of the workspace log that one transaction chains: each takes up to three of its items.
pub const LOG_CHAINED_AT_ONCE_MAX: usize = 30;
/// Longest message of an issue or a step, as JSON bytes.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Longest reason or note of a person in an event, as JSON bytes.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;
/// Longest JSON pointer that an issue names, as JSON bytes.
pub const POINTER_BYTES_MAX: usize = 256;
/// Issues of one event, in JSON bytes together.
pub const EVENT_ISSUES_BYTES_MAX: usize = 24 * 1024;
/// Largest event of a trace or log, as stored, in bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Longest partition or sort key of an item, in bytes (DynamoDB takes 2 KB and 1 KB).
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest stored item, in bytes: its key, fields and body (DynamoDB takes 400 KB).
pub const ITEM_BYTES_MAX: usize = 350 * 1024;
/// Largest transaction, in bytes (DynamoDB takes 4 MB).
pub const TRANSACT_BYTES_MAX: usize = 3_584 * 1024;
/// Names that one request is helped with by "did you mean".
pub const SUGGESTIONS_MAX: u32 = 20;
/// Known names that one suggestion is looked for among.
pub const SUGGESTION_CANDIDATES_MAX: usize = 1_000;
/// Subschemas of one schema.
pub const SCHEMA_NODES_MAX: usize = 10_000;
/// Subschemas that may be evaluated, each as often as it is reached, along one path into a value.
pub const SCHEMA_EVALUATIONS_MAX: u64 = 20_000;
/// Largest regular expression of a schema, compiled, in bytes.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 512 * 1024;
/// Patterns of one schema.
pub const SCHEMA_PATTERNS_MAX: usize = 200;
/// Places of an input that policies can name, for one operation.
pub const POLICY_INPUT_PLACES_MAX: usize = 500;
/// Outputs that an answer about a trace shows, in bytes. A function's whole answer has at most 6 MB.
pub const TRACE_PAYLOADS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest id of an actor, in bytes.
pub const ACTOR_ID_BYTES_MAX: usize = 128;
/// Actors through whose hands a key comes from the deployment's.
pub const KEY_MAKERS_MAX: usize = 16;
/// Grants of one key.
pub const KEY_GRANTS_MAX: usize = 100;
/// Services that decide like people.
pub const DECIDERS_MAX: usize = 20;
/// Open executions that a disable counts unstarted steps of; beyond, the count is partial.
pub const VOIDED_EXECUTIONS_MAX: usize = 100;
/// How long sensitive values are kept in the vault, in seconds: 30 days. What outlives them is evidence without values.
pub const VAULT_SECONDS: i64 = 30 * 86_400;
/// Longest text of a tool's own words that evidence takes, in characters.
pub const TOOL_WORDS_CHARS_MAX: usize = 200;
/// Views that one answer holds in full; further open approvals are listed with their digests.
pub const VIEWS_MAX: usize = 20;
/// Columns of a view's lines in an answer.
pub const VIEW_COLUMNS: usize = 80;
/// Refused attempts of one actor that the workspace log records in full within a minute; more are counted.
pub const REFUSALS_RECORDED_A_MINUTE_MAX: u64 = 60;
/// The same within a day.
pub const REFUSALS_RECORDED_A_DAY_MAX: u64 = 500;
