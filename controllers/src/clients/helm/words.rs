//! What Helm says when something fails, and what that means for us.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use threeport::SENSITIVE;
use threeport::bounded::cut;

/// The longest account of a failure.
const LONGEST: usize = 1_000;
/// Shorter ones would blot out half of every message.
const SHORTEST_SECRET: usize = 3;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failed {
    pub cause: Cause,
    /// Helm's own, without secrets.
    pub words: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no `helm`, or not the right one.
    NotInstalled,
    /// We ended it: the lease is lost, or somebody doesn't want it any more.
    Stopped,
    /// Something didn't answer; it may by and by.
    Unreachable,
    /// The repository refused the credentials.
    Credentials,
    /// The repository has no such chart, or version.
    ChartNotFound,
    /// Helm refused, or something that it ran failed.
    Refused,
    /// We could not run it.
    Ours,
}

impl Cause {
    /// As the reason of a condition.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotInstalled => "HelmNotInstalled",
            Self::Stopped => "Interrupted",
            Self::Unreachable => "Unreachable",
            Self::Credentials => "CredentialsRefused",
            Self::ChartNotFound => "ChartNotFound",
            Self::Refused => "ReleaseFailed",
            Self::Ours => "HelmNotRun",
        }
    }

    /// Whether trying again may help although nobody edits anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::NotInstalled | Self::Stopped | Self::Unreachable | Self::Ours)
    }
}

/// What networks say.
const UNREACHABLE: &[&str] = &[
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "tls handshake timeout",
    "no route to host",
    "server misbehaving",
    "unexpected eof",
    "cluster unreachable",
    "client rate limiter",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway timeout",
    "429 too many requests",
];
const REFUSED: &[&str] = &["401", "403", "unauthorized", "forbidden", "denied: ", "authentication required"];
const NOT_FOUND: &[&str] = &["not found", "no chart version found", "no chart name found", "404"];

impl Failed {
    /// From what Helm wrote.
    pub fn of(said: &str, secrets: &[String]) -> Self {
        let words = redacted(&account(said), secrets);
        let cause = if says(&words, UNREACHABLE) { Cause::Unreachable } else { Cause::Refused };
        Self { cause, words }
    }

    pub fn of_ours(words: String) -> Self {
        Self { cause: Cause::Ours, words }
    }

    pub fn stopped(words: &str) -> Self {
        Self { cause: Cause::Stopped, words: words.to_owned() }
    }

    /// The same, said while a chart was fetched: then it is about the repository.
    #[must_use]
    pub fn of_fetching(self, secrets: &[String]) -> Self {
        let cause = match self.cause {
            Cause::Refused if says(&self.words, REFUSED) => Cause::Credentials,
            Cause::Refused if says(&self.words, NOT_FOUND) => Cause::ChartNotFound,
            cause => cause,
        };
        Self { cause, words: redacted(&self.words, secrets) }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::of_ours(format!("helm can't be run: {error}"))
    }
}

fn says(words: &str, any: &[&str]) -> bool {
    let words = words.to_lowercase();
    any.iter().any(|known| words.contains(known))
}

/// The error among warnings and log lines, in one line.
fn account(said: &str) -> String {
    let is_said = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("level=") && !line.starts_with("WARNING") && !line.starts_with("time=")
    };
    let lines = said.lines().filter(is_said).map(str::trim).collect::<Vec<_>>();
    // What `repo update` has to say stands before its error, below the repository that it is about.
    if let Some(reason) =
        lines.iter().position(|line| line.starts_with("...Unable to get")).and_then(|at| lines.get(at + 1))
    {
        return (*reason).to_owned();
    }
    let begin = lines.iter().rposition(|line| line.starts_with("Error: ")).unwrap_or_default();
    let lines = lines.iter().skip(begin);
    let told = lines.map(|line| line.strip_prefix("Error: ").unwrap_or(line)).collect::<Vec<_>>().join(" ");
    if told.is_empty() { "helm failed without a word".to_owned() } else { told }
}

/// The text without any of the secrets, plain, quoted or in base64; not longer than an account may be.
pub fn redacted(text: &str, secrets: &[String]) -> String {
    let mut secrets = secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET).collect::<Vec<_>>();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = text.to_owned();
    for secret in secrets {
        let quoted = serde_json::Value::from(secret.as_str()).to_string();
        for form in [secret.clone(), quoted.trim_matches('"').to_owned(), STANDARD.encode(secret)] {
            text = text.replace(&form, SENSITIVE);
        }
    }
    cut(&text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_told_without_what_stands_around_it() {
        let stderr = "level=WARN msg=\"deprecated\"\nWARNING: old\nError: UPGRADE FAILED: pre-upgrade hooks failed:\n\t* job failed: BackoffLimitExceeded\n";
        let failed = Failed::of(stderr, &[]);
        assert_eq!(failed.words, "UPGRADE FAILED: pre-upgrade hooks failed: * job failed: BackoffLimitExceeded");
        assert_eq!(failed.cause, Cause::Refused);
        assert_eq!(Failed::of("", &[]).words, "helm failed without a word");
    }

    #[test]
    fn secrets_are_not_repeated_in_any_form() {
        let secrets = vec!["hunter2\"x".to_owned(), "hunter2".to_owned(), "a".to_owned()];
        let encoded = STANDARD.encode("hunter2");
        let text = format!("Error: hunter2, hunter2\"x, hunter2\\\"x, {encoded}, a");
        let failed = Failed::of(&text, &secrets);
        assert!(!failed.words.contains("hunter2") && !failed.words.contains(&encoded), "{failed}");
        assert!(failed.words.ends_with(", a"));
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_needs_an_edit() {
        let cause = |stderr: &str| Failed::of(stderr, &[]).of_fetching(&[]).cause;
        assert_eq!(
            cause("Error: Get \"http://127.0.0.1:1/\": dial tcp: connect: connection refused"),
            Cause::Unreachable
        );
        assert_eq!(cause("Error: failed to fetch x : 401 Unauthorized"), Cause::Credentials);
        assert_eq!(cause("Error: chart \"web\" matching 9.9.9 not found in threeport index"), Cause::ChartNotFound);
        assert_eq!(cause("Error: something else"), Cause::Refused);
        assert!(Cause::Unreachable.is_transient() && !Cause::Credentials.is_transient());
    }

    #[test]
    fn an_index_that_can_not_be_had_is_told_with_its_reason() {
        let said = "Hang tight\n...Unable to get an update from the \"threeport\" chart repository (http://127.0.0.1:1):\n\tfailed to fetch http://127.0.0.1:1/index.yaml : 401 Unauthorized\n\nError: failed to update the following repositories: [http://127.0.0.1:1]\n";
        let failed = Failed::of(said, &[]).of_fetching(&[]);
        assert_eq!(failed.words, "failed to fetch http://127.0.0.1:1/index.yaml : 401 Unauthorized");
        assert_eq!(failed.cause, Cause::Credentials);
    }
}
