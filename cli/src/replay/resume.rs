//! What is done of many replays, in a file: a first line that says of what, and a line for each
//! execution. A process that is killed leaves at most its last line torn, which is done again.

use super::{Listed, ReplayArgs, each::Outcome, when::moment};
use crate::{context::document, error::CliError};
use contracts::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// Form of the file.
const VERSION: u32 = 1;
/// Before the first execution of any workspace: 2024-01-01.
const BEGINNING: Timestamp = Timestamp::from_ms(1_704_067_200_000);

/// Which executions are replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    version: u32,
    endpoint: String,
    /// As it was asked for; what a span means does not move when the command goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_until: Option<String>,
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Window {
    /// What the arguments ask for; without an end, everything there is now.
    pub fn of(endpoint: &str, args: &ReplayArgs, now: Timestamp) -> Result<Self, CliError> {
        let read = |text: &Option<String>, otherwise| {
            text.as_deref().map_or(Ok(otherwise), |text| moment(text, now))
        };
        let (since, until) = (read(&args.since, BEGINNING)?, read(&args.until, now.plus_ms(1))?);
        if since > until {
            return Err(CliError::Local("--since is later than --until".into()));
        }
        Ok(Self {
            version: VERSION,
            endpoint: endpoint.to_owned(),
            asked_since: args.since.clone(),
            asked_until: args.until.clone(),
            since,
            until,
        })
    }

    fn is_asked_like(&self, other: &Self) -> bool {
        let asked = |window: &Self| {
            let Self { version, endpoint, asked_since, asked_until, .. } = window.clone();
            (version, endpoint, asked_since, asked_until)
        };
        asked(self) == asked(other)
    }
}

/// One execution that is done.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    execution_id: ExecutionId,
    /// As it was listed: what changed since is replayed again.
    updated_at: Timestamp,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The file, and what it says.
pub struct Resume {
    path: PathBuf,
    file: File,
    window: Window,
    done: HashMap<ExecutionId, (Timestamp, Outcome)>,
}

impl Resume {
    /// Opens a file, or begins it. One of other replays is refused.
    pub fn open(path: &Path, asked: &Window) -> Result<Self, CliError> {
        let fault = |error: std::io::Error| CliError::file(path, error);
        let wrong = |why: String| CliError::file(path, why);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        // It may hold what executions hold.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(fault)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => wrong("another replay uses it".into()),
            TryLockError::Error(error) => fault(error),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fault)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let torn = bytes.split_off(whole);
        if !torn.is_empty() {
            file.set_len(bytes.len() as u64).map_err(fault)?;
            file.seek(SeekFrom::End(0)).map_err(fault)?;
        }
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let window = match lines.next() {
            Some(line) => document(line).map_err(|why| wrong(format!("no replay: {why}")))?,
            None => asked.clone(),
        };
        if !asked.is_asked_like(&window) {
            let why = "it is of another control plane, or of other --since and --until";
            return Err(wrong(why.into()));
        }
        let mut done = HashMap::new();
        for (index, line) in lines.enumerate() {
            let read: Done =
                document(line).map_err(|why| wrong(format!("line {}: {why}", index + 2)))?;
            done.insert(read.execution_id, (read.updated_at, read.outcome));
        }
        let mut resume = Self { path: path.to_owned(), file, window, done };
        if bytes.is_empty() {
            resume.write(&asked.clone())?;
        }
        Ok(resume)
    }

    /// What is replayed: as it was when the file was begun.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// What came of an execution, unless it changed since.
    pub fn done(&self, execution: &Listed) -> Option<Outcome> {
        let (updated_at, outcome) = self.done.get(&execution.id)?;
        (*updated_at == execution.updated_at).then(|| outcome.clone())
    }

    /// Keeps what came of an execution. One that could not be read is tried again.
    pub fn keep(&mut self, execution: &Listed, outcome: &Outcome) -> Result<(), CliError> {
        if matches!(outcome, Outcome::Unreadable { .. }) {
            return Ok(());
        }
        self.write(&Done {
            execution_id: execution.id.clone(),
            updated_at: execution.updated_at,
            outcome: outcome.clone(),
        })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec(line).map_err(CliError::local)?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|error| CliError::file(&self.path, error))
    }
}
