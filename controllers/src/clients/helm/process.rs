//! One run of Helm: started without a shell, kept alive by our lease, bounded in time and in what it may say.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::folder::Folder;
use super::words::{Cause, Failed};
use super::{READ_LIMIT, Target};

/// How often the child is told for how long the lease is still held.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// For a child that nobody wants any more.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const LONGEST_OUTPUT: u64 = 16 << 20;
/// Of stderr the end is kept.
const TAIL: usize = 16 << 10;
const MAJOR: &str = "v4.";

pub struct Run<'a> {
    pub program: &'a Path,
    pub target: &'a Target,
    pub folder: &'a Folder,
    pub limit: Duration,
}

impl Run<'_> {
    /// Refuses what is no Helm 4.
    pub async fn check_version(&self) -> Result<(), Failed> {
        let wrong = |words: String| Failed { cause: Cause::NotInstalled, words };
        let run = Run { limit: READ_LIMIT, ..*self };
        let version = run.output(&["version".to_owned(), "--short".to_owned()]).await.map_err(|failed| {
            let program = self.program.display();
            wrong(format!("helm is not installed yet: {failed}; `{program}` is looked for again by and by"))
        })?;
        if version.trim_start().starts_with(MAJOR) {
            return Ok(());
        }
        Err(wrong(format!("`{}` is {}, and helm 4 is needed", self.program.display(), version.trim())))
    }

    /// What it prints, if it ends well.
    pub async fn output(&self, arguments: &[String]) -> Result<String, Failed> {
        let mut child = self.start(arguments)?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::join!(self.wait(child, stdin), all(stdout), tail(stderr)) };
        let (status, stdout, stderr) = ended.await;
        if status?.success() {
            return String::from_utf8(stdout).map_err(|_| Failed::of_ours("helm says what is no text".into()));
        }
        // Why a repository can't be had is said there where others write what is nobody's business.
        let is_repository = arguments.first().is_some_and(|verb| verb == "repo");
        let said = if is_repository { [stdout, stderr].concat() } else { stderr };
        Err(Failed::of(&String::from_utf8_lossy(&said), &self.target.secrets))
    }

    fn start(&self, arguments: &[String]) -> Result<Child, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("helm-child").arg(self.program).arg("--").args(arguments);
        command.env_clear().envs(self.folder.environment());
        // A program named without a folder is looked for as we would.
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// Waits until it ends by itself, or for its end once it has lasted too long or is no longer ours to run.
    async fn wait(&self, mut child: Child, stdin: Option<ChildStdin>) -> Result<ExitStatus, Failed> {
        let stopped = tokio::select! {
            status = child.wait() => return Ok(status?),
            () = self.keep_alive(stdin) => "the lease was lost; another replica goes on".to_owned(),
            () = tokio::time::sleep(self.limit) => format!("helm took longer than {} s", self.limit.as_secs()),
        };
        // Its stdin is closed by now, which ends it.
        let _ = tokio::time::timeout(ENDS_WITHIN, child.wait()).await;
        Err(Failed::stopped(&stopped))
    }

    /// Returns when the lease is lost, or the child takes no more words.
    async fn keep_alive(&self, stdin: Option<ChildStdin>) {
        let Some(mut stdin) = stdin else { return };
        while self.target.lease.is_held() {
            let line = format!("{}\n", self.target.lease.remaining().as_millis());
            if stdin.write_all(line.as_bytes()).await.is_err() {
                // It has just ended by itself.
                return std::future::pending().await;
            }
            tokio::time::sleep(TOLD_EVERY).await;
        }
    }
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(LONGEST_OUTPUT);
        let _ = stream.read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut stream.into_inner(), &mut tokio::io::sink()).await;
    }
    bytes
}

/// The last bytes.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 4096]);
    let Some(mut stream) = stream else { return bytes };
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        bytes.extend_from_slice(&piece[..length]);
        let excess = bytes.len().saturating_sub(TAIL);
        bytes.drain(..excess);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_end_of_what_is_said_is_kept() {
        let said = format!("{}the end", "x".repeat(TAIL * 3));
        let kept = tail(Some(said.as_bytes())).await;
        assert!(kept.len() == TAIL && kept.ends_with(b"the end"));
    }
}
