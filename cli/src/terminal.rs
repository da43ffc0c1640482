//! Where commands write: data on stdout, everything else on stderr, live progress where a person looks on.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

use crate::local::Progress;

/// The two streams of a command.
pub struct Terminal {
    out: Mutex<Box<dyn Write + Send>>,
    error: Mutex<Box<dyn Write + Send>>,
    /// What goes on now, on the last line; only on a terminal.
    live: Mutex<Option<ProgressBar>>,
    is_live: bool,
    has_colors: bool,
    can_ask: bool,
}

impl Terminal {
    /// The streams of this process.
    pub fn standard() -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: Mutex::new(Box::new(std::io::stdout())),
            error: Mutex::new(Box::new(std::io::stderr())),
            live: Mutex::new(None),
            is_live: std::io::stderr().is_terminal() && !is_plain,
            has_colors: std::io::stdout().is_terminal() && !is_plain,
            can_ask: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// Streams that a test reads.
    pub fn captured() -> (Self, Captured, Captured) {
        let (out, error) = (Captured::default(), Captured::default());
        let terminal = Self {
            out: Mutex::new(Box::new(out.clone())),
            error: Mutex::new(Box::new(error.clone())),
            live: Mutex::new(None),
            is_live: false,
            has_colors: false,
            can_ask: false,
        };
        (terminal, out, error)
    }

    /// Writes a line of data.
    pub fn data(&self, text: impl Display) -> Result<()> {
        self.around_live(|| {
            let mut out = lock(&self.out);
            writeln!(out, "{text}")?;
            Ok(out.flush()?)
        })
    }

    /// Writes a line for people.
    pub fn note(&self, text: impl Display) {
        self.around_live(|| {
            let _ = writeln!(lock(&self.error), "{text}");
        });
    }

    /// Ends live progress, if any: what follows stands below what was written.
    pub fn settle(&self) {
        if let Some(bar) = lock(&self.live).take() {
            bar.finish_and_clear();
        }
    }

    /// Asks a question whose safe answer is no; no answer where nobody can be asked.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        if !self.can_ask {
            return None;
        }
        self.settle();
        {
            let mut error = lock(&self.error);
            let _ = write!(error, "{question} [y/N] ").and_then(|()| error.flush());
        }
        let mut answer = String::new();
        let _ = std::io::stdin().lock().read_line(&mut answer);
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// A word in the color of what it says, where colors are shown.
    pub fn paint(&self, word: &str) -> String {
        if !self.has_colors {
            return word.to_owned();
        }
        match word.split([' ', '(']).next().unwrap_or_default() {
            "Healthy" | "True" | "ready" | "created" => word.green().to_string(),
            "Reconciling" | "Unknown" | "Paused" | "starting" | "waiting" | "updated" => word.yellow().to_string(),
            "Unhealthy" | "Down" | "Error" | "False" | "crashed" | "unhealthy" | "Warning" | "deleted" => {
                word.red().to_string()
            }
            _ => word.to_owned(),
        }
    }

    fn around_live<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*lock(&self.live) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Progress for Terminal {
    fn step(&self, message: &str) {
        if !self.is_live {
            return self.note(message);
        }
        let mut live = lock(&self.live);
        let bar = live.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {wide_msg} {elapsed:.dim}");
            let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(message.to_owned());
    }

    fn detail(&self, message: &str) {
        if let Some(bar) = &*lock(&self.live) {
            bar.set_message(message.to_owned());
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.settle();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was written to a stream.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
