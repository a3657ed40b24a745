//! Every limit of the system, with its unit in the name. Checked at the edge, each with a clear
//! error.

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
/// Publishers, keys of one, prefixes of one, revoked digests, minimum versions of a trust policy:
/// each.
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
/// Different requirements of one plan's steps; beyond, the other steps ask for the most of each.
pub const REQUIREMENTS_MAX: usize = 20;
/// Keys that are looked at for how many persons decide.
pub const DECIDING_KEYS_MAX: usize = 1_000;
/// Requests for approval that one command decides on, all or nothing: one transaction.
pub const VOTES_AT_ONCE_MAX: usize = 8;
/// Values of a plan that one edit changes.
pub const EDITED_LITERALS_MAX: usize = 20;
/// Literals that are offered to be edited, of one request.
pub const EDITABLE_LITERALS_MAX: usize = 100;
/// Longest value that an edit changes or puts in its place, in bytes of JSON.
pub const EDITED_VALUE_BYTES_MAX: usize = 512;
/// Comments on one request.
pub const COMMENTS_MAX: usize = 50;
/// Longest comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 2 * 1024;
/// Things of one execution that the inbox lists; of more, the first in plan order.
pub const INBOX_ITEMS_OF_ONE_MAX: usize = 20;
/// Executions that one call of `approval.list` looks at; beyond, one goes on with the cursor.
pub const INBOX_SCAN_MAX: usize = 1_000;
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
/// Heads of streams that one transaction takes into the transparency log: three of its items each.
pub const LEAVES_AT_ONCE_MAX: usize = 28;
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
/// Outputs that an answer about a trace shows, in bytes. A function's whole answer has at most 6
/// MB.
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
/// How long sensitive values are kept in the vault, in seconds: 30 days. What outlives them is
/// evidence without values.
pub const VAULT_SECONDS: i64 = 30 * 86_400;
/// Longest text of a tool's own words that evidence takes, in characters.
pub const TOOL_WORDS_CHARS_MAX: usize = 200;
/// Views that one answer holds in full; further open approvals are listed with their digests.
pub const VIEWS_MAX: usize = 20;
/// Columns of a view's lines in an answer.
pub const VIEW_COLUMNS: usize = 80;
/// Columns of a view's lines in a mail and on the page of a link: what a phone shows of a line
/// without breaking it.
pub const VIEW_COLUMNS_NARROW: usize = 44;
/// Refused attempts of one actor that the workspace log records in full within a minute; more are
/// counted.
pub const REFUSALS_RECORDED_A_MINUTE_MAX: u64 = 60;
/// The same within a day.
pub const REFUSALS_RECORDED_A_DAY_MAX: u64 = 500;
/// Tries of one event at one target before its stream is parked there as a dead letter: with a
/// back-off from a second to an hour, about a day.
pub const DELIVERY_TRIES_MAX: u32 = 35;
/// Longest wait between two tries, in milliseconds; also what a target that asks to be left alone
/// gets at most.
pub const DELIVERY_BACKOFF_MS_MAX: i64 = 3_600_000;
/// How long a dead letter can be redelivered, in milliseconds: 14 days.
pub const DEAD_LETTER_MS: i64 = 14 * 86_400_000;
/// Streams of one subscription that are counted as waiting or dead; beyond, the counts are partial.
pub const DELIVERIES_COUNTED_MAX: usize = 1_000;
/// Dead letters that one answer lists.
pub const DEAD_LETTERS_LISTED_MAX: usize = 20;
/// Dead letters that one command redelivers; beyond, it says that some are left.
pub const REDELIVERED_AT_ONCE_MAX: usize = 500;
/// Life of a session of the console: it ends then, whatever was done with it.
pub const SESSION_LIFE_MS: i64 = 12 * 3_600_000;
/// Life of a code that opens one session of the console.
pub const SESSION_CODE_LIFE_MS: i64 = 15 * 60_000;
/// Life of a sign-in at the identity provider that was begun: who comes back later begins anew.
pub const SIGN_IN_FLOW_LIFE_MS: i64 = 10 * 60_000;
/// For how long a decision may follow the sign-in that it needs as a second factor.
pub const SECOND_FACTOR_LIFE_MS: i64 = 5 * 60_000;
/// Values of one groups claim of an identity provider.
pub const GROUP_CLAIMS_MAX: usize = 1_000;
/// Longest value of a groups claim, in bytes.
pub const GROUP_CLAIM_BYTES_MAX: usize = 256;
/// Longest issuer of an identity provider, in bytes.
pub const ISSUER_BYTES_MAX: usize = 255;
/// Longest subject of an identity provider, in bytes (OpenID Connect Core 1.0, 2).
pub const SUBJECT_BYTES_MAX: usize = 255;
/// Largest answer of an identity provider, in bytes.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Longest wait for one answer of an identity provider, in milliseconds.
pub const PROVIDER_ANSWER_MS_MAX: u64 = 8_000;
/// Longest wait for all answers of an identity provider that one sign-in needs, in milliseconds.
pub const SIGN_IN_CALLS_MS_MAX: u64 = 15_000;
/// Keys of a person whose grants a session of theirs has.
pub const SESSION_KEYS_MAX: usize = 20;
/// Bytes of a page. One that is longer has fewer rows; what people decide on alone is shown whole,
/// however long it is.
pub const PAGE_BYTES_MAX: usize = 50_000;
/// How often a page has half as many rows, at the most.
pub const PAGE_HALVINGS_MAX: u32 = 6;
/// Fields of a form.
pub const FORM_FIELDS_MAX: usize = 64;
/// Nodes of a plan's picture; a plan with more steps is shown as a list.
pub const PICTURE_NODES_MAX: usize = 60;
/// Arrows of a plan's picture, without those that follow from others.
pub const PICTURE_ARROWS_MAX: usize = 120;
/// Persons of a workspace's directory.
pub const PERSONS_MAX: usize = 500;
/// Groups of a workspace's directory.
pub const GROUPS_MAX: usize = 100;
/// Members of one group.
pub const GROUP_MEMBERS_MAX: usize = 200;
/// Other actor ids and mail addresses of one person.
pub const PERSON_ALIASES_MAX: usize = 10;
/// Longest name of a person, in bytes.
pub const PERSON_NAME_BYTES_MAX: usize = 128;
/// Longest mail address, in bytes (RFC 5321, 4.5.3.1.3).
pub const MAIL_BYTES_MAX: usize = 254;
/// Largest directory, as it is stored, in bytes.
pub const DIRECTORY_BYTES_MAX: usize = 256 * 1024;
/// Longest time for which a person's places are lent, in milliseconds: 90 days.
pub const DELEGATION_MS_MAX: i64 = 90 * 86_400_000;
/// Shortest time after which a group is reminded, or another one counts for it, in seconds.
pub const GROUP_SECONDS_MIN: u32 = 60;
/// Longest time of that kind, in seconds: 30 days.
pub const GROUP_SECONDS_MAX: u32 = 30 * 86_400;
/// Values of an event that a mail shows.
pub const MAIL_VALUES_MAX: usize = 100;
/// Mails that one machine keeps in its folder where no mail server is set up; the oldest go first.
pub const KEPT_MAILS_MAX: usize = 500;
/// Mandates of a workspace, those that ended and are still listed among them.
pub const MANDATES_MAX: usize = 100;
/// All of them, as they are stored, in bytes.
pub const MANDATES_BYTES_MAX: usize = 256 * 1024;
/// Longest condition of a mandate, in bytes.
pub const MANDATE_WHEN_BYTES_MAX: usize = 4 * 1024;
/// Most calls of one mandate.
pub const MANDATE_COUNT_MAX: u32 = 10_000;
/// Longest life of a mandate, in milliseconds: 90 days.
pub const MANDATE_MS_MAX: i64 = 90 * 86_400_000;
/// Latest calls of a mandate that an answer lists.
pub const MANDATE_USES_LISTED_MAX: usize = 20;
/// Channels of a workspace.
pub const CHANNELS_MAX: usize = 20;
/// Teams of one channel, and channels of one of its teams: each.
pub const CHANNEL_SOURCES_MAX: usize = 50;
/// Rules of one channel.
pub const CHANNEL_RULES_MAX: usize = 20;
/// Longest pattern of a rule, in bytes.
pub const CHANNEL_PATTERN_BYTES_MAX: usize = 256;
/// All channels of a workspace as stored, in bytes: they are one item, and no blob.
pub const CHANNELS_BYTES_MAX: usize = 60 * 1024;
/// Longest secret of a channel, in bytes.
pub const CHANNEL_SECRET_BYTES_MAX: usize = 1_024;
/// Messages that one request of a provider brings.
pub const CHANNEL_EVENTS_MAX: usize = 50;
/// Longest id that a provider gives anything, in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 256;
/// Fields of one form or query of a provider.
pub const CHANNEL_FIELDS_MAX: usize = 200;
/// Tries of the work of what came in through a channel, before it is given up.
pub const RECEIPT_TRIES_MAX: u32 = 5;
/// Characters of one part of a view in a message of Slack (its own limit of a section is 3,000).
pub const SLACK_SECTION_CHARACTERS_MAX: usize = 2_900;
/// Parts of a view in a message of Slack; what is longer is decided elsewhere.
pub const SLACK_VIEW_BLOCKS_MAX: usize = 6;
/// Persons whom one request is sent to by direct message.
pub const SLACK_PERSONS_MAX: usize = 50;
/// Tries of one reply to a channel before it is a dead letter.
pub const REPLY_TRIES_MAX: u32 = 3;
/// Persons who are told of one thing that waits.
pub const NOTICE_PERSONS_MAX: usize = 200;
/// Requests that one digest gathers; one more is told at once.
pub const GATHERED_MAX: usize = 50;
/// Things of one execution that people are reminded of.
pub const NOTICES_OF_ONE_MAX: usize = 200;
