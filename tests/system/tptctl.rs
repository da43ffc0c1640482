//! Runs tptctl as a user does, with contexts of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::binary;

#[derive(Clone)]
pub struct Tptctl {
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

/// What a run of tptctl printed and returned.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Output {
    /// The output of a run that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "tptctl failed: {self:#?}");
        self
    }

    /// The output of a run that must have failed.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert_ne!(self.code, 0, "tptctl succeeded: {self:#?}");
        self
    }

    /// All that was printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A run that goes on, such as a watch; dropped, it ends.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Waits until it has printed a line that `holds`, and returns it.
    pub async fn line(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        super::eventually(what, super::MINUTE, async || {
            let Ok(line) = self.lines.try_recv() else { return Err(format!("{:#?}", self.seen)) };
            self.seen.push(line.clone());
            if holds(&line) { Ok(line) } else { Err(line) }
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tptctl {
    pub fn new(folder: &Path, address: &str, token: &str) -> Self {
        let environment = [
            ("THREEPORT_SERVER", address.to_owned()),
            ("THREEPORT_TOKEN", token.to_owned()),
            ("THREEPORT_CONFIG", folder.join("contexts.yaml").to_string_lossy().into_owned()),
        ];
        Self {
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            folder: folder.to_owned(),
        }
    }

    /// One that knows no server but from its contexts file.
    pub fn without_context(folder: &Path) -> Self {
        Self { environment: Vec::new(), folder: folder.to_owned() }
    }

    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds to the environment of every run.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "").await
    }

    /// `tptctl apply -f -` and more arguments.
    pub async fn apply(&self, documents: &str, arguments: &[&str]) -> Output {
        self.run_with_input(&[&["apply", "-f", "-"], arguments].concat(), documents).await
    }

    /// Starts a run that goes on; what it prints on stdout and stderr is one sequence of lines.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(binary("tptctl"));
        command.args(arguments).current_dir(&self.folder).envs(self.environment()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tptctl was built");
        let (sender, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().expect("asked for"), child.stderr.take().expect("asked for"));
        let sources: [Box<dyn Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
        for source in sources {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(source).lines().map_while(Result::ok);
                lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
            });
        }
        Running { child, lines, seen: Vec::new() }
    }

    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(binary("tptctl"));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::piped());
        command.envs(self.environment());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tptctl was built");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let input = input.to_owned();
        let run = tokio::task::spawn_blocking(move || {
            // A tptctl that reads no input may be gone before it is written.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            child.wait_with_output().expect("a child can be waited for")
        });
        let output =
            tokio::time::timeout(super::MINUTE * 5, run).await.expect("tptctl ends").expect("it doesn't panic");
        Output {
            stdout: String::from_utf8(output.stdout).expect("tptctl prints text"),
            stderr: String::from_utf8(output.stderr).expect("tptctl prints text"),
            code: output.status.code().unwrap_or(-1),
        }
    }
}
