//! When a started server can be used.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ATTEMPT: Duration = Duration::from_secs(3);

/// What must succeed before a server counts as ready.
#[derive(Clone, Debug)]
pub enum Readiness {
    /// It runs.
    Running,
    /// A connection to its port is greeted with this text.
    Greeting { port: u16, text: &'static str },
    /// `GET path` on its port answers 200.
    Http { port: u16, path: &'static str },
    /// A SQL connection is accepted.
    Sql { url: String },
    /// A program ends with success.
    Program { program: PathBuf, arguments: Vec<String> },
}

impl Readiness {
    /// Looks once.
    pub async fn look(&self) -> bool {
        tokio::time::timeout(ATTEMPT, self.attempt()).await.unwrap_or(false)
    }

    /// Looks at one that was ready before, without starting a program: a port that answers is enough.
    pub async fn look_again(&self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Program { .. }, None) => true,
            (Self::Program { .. }, Some(port)) => {
                tokio::time::timeout(ATTEMPT, TcpStream::connect(("127.0.0.1", port))).await.is_ok_and(|it| it.is_ok())
            }
            _ => self.look().await,
        }
    }

    async fn attempt(&self) -> bool {
        match self {
            Self::Running => true,
            Self::Greeting { port, text } => {
                greeting(*port, text.len()).await.is_ok_and(|bytes| bytes == text.as_bytes())
            }
            Self::Http { port, path } => http_status(*port, path).await.is_ok_and(|status| status == 200),
            Self::Sql { url } => accepts_sql(url).await,
            Self::Program { program, arguments } => {
                let mut command = tokio::process::Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.kill_on_drop(true).status().await.is_ok_and(|status| status.success())
            }
        }
    }
}

async fn greeting(port: u16, length: usize) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The status of a plain `GET`; an HTTP client would be a large dependency for one line.
async fn http_status(port: u16, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head[9..]).ok().and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| std::io::Error::other("not an HTTP answer"))
}

async fn accepts_sql(url: &str) -> bool {
    match tokio_postgres::connect(url, tokio_postgres::NoTls).await {
        Ok((client, connection)) => {
            let driver = tokio::spawn(connection);
            let answered = client.simple_query("SELECT 1").await.is_ok();
            drop(client);
            driver.abort();
            answered
        }
        Err(_) => false,
    }
}
