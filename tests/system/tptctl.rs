//! Runs tptctl as a user does, with contexts of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
