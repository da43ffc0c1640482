//! Command line and environment of the API server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Stores objects, orders the log, hands out work, answers gRPC and REST.
#[derive(Clone, Debug, Parser)]
#[command(name = "threeport-api-server", version, about)]
pub struct Config {
    /// Where gRPC and REST are served; loopback only. Port 0 picks a free one.
    #[arg(long, env = "THREEPORT_LISTEN", default_value = "127.0.0.1:8080", value_parser = loopback)]
    pub listen: SocketAddr,
    /// The database: `postgres://user:password@host:port/name`.
    #[arg(long, env = "THREEPORT_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// The broker: `nats://host:port`.
    #[arg(long, env = "THREEPORT_NATS_URL", hide_env_values = true)]
    pub nats_url: String,
    /// The keys that sensitive fields are encrypted with.
    #[arg(long, env = "THREEPORT_ENCRYPTION_KEY_FILE")]
    pub encryption_key_file: PathBuf,
    /// The bearer token of the user.
    #[arg(long, env = "THREEPORT_USER_TOKEN_FILE")]
    pub user_token_file: PathBuf,
    /// The bearer token of our own controllers.
    #[arg(long, env = "THREEPORT_CONTROLLER_TOKEN_FILE")]
    pub controller_token_file: PathBuf,
    /// More tokens, read again when they change: a JSON list of objects with `sha256`, `identity`, `role` (`user` or `controller`)
    /// and `controllers` (each `kind/name`).
    #[arg(long, env = "THREEPORT_TOKENS_FILE")]
    pub tokens_file: Option<PathBuf>,
    /// Calls a second that one identity may make.
    #[arg(long, env = "THREEPORT_RATE_LIMIT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit: u32,
    /// Where traces go, by OTLP over gRPC.
    #[arg(long, env = "THREEPORT_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How logs look.
    #[arg(long, env = "THREEPORT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl From<LogFormat> for threeport::telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "give an address and a port: 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("only loopback addresses are served: tokens would travel in the clear; TLS comes with users".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        assert!(loopback("0.0.0.0:8080").unwrap_err().contains("TLS comes with users"));
        assert!(loopback("somewhere").is_err());
    }
}
