//! How far many replays are, on the standard error: a bar on a terminal, a line every few seconds
//! elsewhere.

use super::report::Report;
use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Between two pictures of the bar, and between two lines.
const BAR_PAUSE: Duration = Duration::from_millis(100);
const LINE_PAUSE: Duration = Duration::from_secs(5);
const BAR_CELLS: usize = 24;

/// What was said last, and when.
pub struct Progress {
    terminal: bool,
    begun: Instant,
    said: Option<Instant>,
    /// Whether a bar stands on the line.
    open: bool,
}

impl Progress {
    pub fn start() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, begun: Instant::now(), said: None, open: false }
    }

    /// So many executions were found.
    pub fn listed(&mut self, count: usize) {
        self.say(false, || format!("{count} executions listed"));
    }

    /// Replays came to an end.
    pub fn replaying(&mut self, report: &Report) {
        let (done, all) = (report.done(), report.executions());
        let seconds = self.begun.elapsed().as_secs().max(1);
        self.say(done == all, || {
            let counts = format!("{done} of {all} replayed");
            let faults = match report.faults() {
                0 => String::new(),
                faults => format!(", {faults} do not match"),
            };
            format!("{} {counts}{faults}, {seconds} s", bar(done, all))
        });
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if self.open {
            self.write("\r\u{1b}[K");
        }
    }

    fn say(&mut self, last: bool, text: impl FnOnce() -> String) {
        let pause = if self.terminal { BAR_PAUSE } else { LINE_PAUSE };
        let due = self.said.unwrap_or(self.begun).elapsed() >= pause;
        if !(due || (last && self.terminal)) {
            return;
        }
        self.said = Some(Instant::now());
        self.open = self.terminal;
        let text = text();
        match self.terminal {
            true => self.write(&format!("\r\u{1b}[K{text}")),
            false => self.write(&format!("{text}\n")),
        }
    }

    // That nobody can be told is no fault of the replays.
    fn write(&self, text: &str) {
        let mut stream = std::io::stderr();
        let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    }
}

fn bar(done: usize, all: usize) -> String {
    let filled = (BAR_CELLS * done).checked_div(all).unwrap_or(BAR_CELLS).min(BAR_CELLS);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(BAR_CELLS - filled))
}
