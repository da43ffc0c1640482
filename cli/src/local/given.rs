//! Servers that the user gave instead of ours: looked at before anything is started that needs them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_postgres::config::Host;

use super::instance::Settings;

const LIMIT: Duration = Duration::from_secs(5);
/// A database that sleeps until somebody connects takes longer.
const DATABASE_LIMIT: Duration = Duration::from_secs(15);
const NATS_PORT: u16 = 4222;

/// Asks them: one that isn't there is told at once, not by whoever needs it first.
pub async fn check(settings: &Settings) -> Result<()> {
    if let Some(url) = &settings.nats_url {
        check_nats(url).await?;
    }
    if let Some(url) = &settings.database_url {
        check_postgres(url).await?;
    }
    Ok(())
}

/// One of the servers in the URL has to greet as NATS does.
async fn check_nats(url: &str) -> Result<()> {
    let addresses = url.split(',').map(address).collect::<Vec<_>>();
    let mut last = String::new();
    for address in &addresses {
        last = match tokio::time::timeout(LIMIT, greeting(address)).await {
            Ok(Ok(greeting)) if greeting == *b"INFO" => return Ok(()),
            Ok(Ok(_)) => "what answers there is no NATS server".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
    }
    bail!(
        "NATS at {} can't be used: {last}; start it, or leave --nats-url out to have one started",
        addresses.join(", ")
    )
}

/// `host:port` of `nats://user:password@host:port`.
fn address(url: &str) -> String {
    let rest = url.trim().split_once("://").map_or(url.trim(), |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split('/').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{NATS_PORT}") }
}

async fn greeting(address: &str) -> std::io::Result<[u8; 4]> {
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn check_postgres(url: &str) -> Result<()> {
    // Not repeated: it may hold a password.
    let config = url.parse::<tokio_postgres::Config>().ok().filter(|config| !config.get_hosts().is_empty());
    let config =
        config.context("--database-url is no Postgres URL; write postgres://user:password@host:port/database")?;
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let named = format!("the database at {}", hosts.collect::<Vec<_>>().join(", "));
    let advice = "start it, or leave --database-url out to have one started";
    let limit = config.get_connect_timeout().copied().unwrap_or_default().max(DATABASE_LIMIT);
    match tokio::time::timeout(limit, config.connect(tokio_postgres::NoTls)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => bail!("{named} can't be used: {}; {advice}", cause(&error)),
        Err(_) => bail!("{named} can't be used: no answer within {} s; {advice}", limit.as_secs()),
    }
}

/// The innermost error, which says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_told_without_their_passwords() {
        assert_eq!(address("nats://user:secret@broker.example:4333"), "broker.example:4333");
        assert_eq!(address("tls://broker.example"), "broker.example:4222");
        assert_eq!(address("nats://[::1]:7"), "[::1]:7");
    }

    #[tokio::test]
    async fn what_does_not_answer_or_is_something_else_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("nats://127.0.0.1:1,nats://{address}");
        for (greeting, problem) in [("INFO {}\r\n", None), ("HTTP/1.1 400", Some("is no NATS server"))] {
            let served = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(greeting.as_bytes()).await.unwrap();
            };
            let (checked, ()) = tokio::join!(check_nats(&url), served);
            let told = checked.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(problem.map_or(told.is_empty(), |problem| told.contains(problem)), "{told}");
        }
        for wrong in ["foo", "http://db.example", "user=a"] {
            assert!(check_postgres(wrong).await.unwrap_err().to_string().contains("is no Postgres URL"), "{wrong}");
        }
        let told = check_nats("127.0.0.1:1,nats://127.0.0.1:2").await.unwrap_err().to_string();
        assert!(told.contains("127.0.0.1:1, 127.0.0.1:2") && told.contains("refused"), "{told}");
        let told = check_postgres("postgres://me:secret@127.0.0.1:1/x").await.unwrap_err().to_string();
        assert!(told.contains("127.0.0.1") && told.contains("refused") && !told.contains("secret"), "{told}");
    }
}
