//! The command line, each flag also as an environment variable.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use threeport::telemetry;

use crate::clients::helm::Child;

/// Runs the built-in controllers of a Threeport control plane.
///
/// Example: `threeport-controllers --server http://127.0.0.1:8080 --token-file token --nats-url nats://127.0.0.1:4222`
#[derive(Debug, Parser)]
#[command(
    name = "threeport-controllers",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub part: Option<Part>,
    #[command(flatten)]
    pub config: Option<Config>,
}

/// What this program also is: for the helm that it runs, and for nobody else.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Runs a program that must not outlive whoever wants it.
    #[command(hide = true)]
    HelmChild(Child),
    /// Marks what a chart renders to.
    #[command(hide = true)]
    HelmPostRender {
        /// The file that says whose release it is.
        settings: PathBuf,
    },
}

/// How the controllers run.
#[derive(Args, Debug)]
pub struct Config {
    /// The API server.
    #[arg(long, env = "THREEPORT_SERVER", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// A file with the controllers' token.
    #[arg(long, env = "THREEPORT_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// The broker whose hints make work start at once; without it the server is asked every second.
    #[arg(long, env = "THREEPORT_NATS_URL")]
    pub nats_url: Option<String>,
    /// Kinds to reconcile, separated by commas; all when absent.
    #[arg(long, env = "THREEPORT_KINDS", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// How many objects to reconcile at a time.
    #[arg(long, env = "THREEPORT_CONCURRENCY", default_value_t = 32, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub concurrency: usize,
    /// Where helm is, version 4, or will be.
    #[arg(long, env = "THREEPORT_HELM", default_value = "helm")]
    pub helm: PathBuf,
    /// Serves /healthz, /readyz and /metrics.
    #[arg(long, env = "THREEPORT_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where traces go, such as `http://127.0.0.1:4317`; none when absent.
    #[arg(long, env = "THREEPORT_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How logs look.
    #[arg(long, env = "THREEPORT_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl From<LogFormat> for telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// The token in a file, without the line's end.
pub fn read_token(file: &Path) -> Result<String> {
    let token =
        std::fs::read_to_string(file).with_context(|| format!("can't read the token in `{}`", file.display()))?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["x"], arguments].concat());
        let config = parse(&["--token-file", "t", "--kinds", "workload,workload-instance"]).unwrap().config.unwrap();
        assert_eq!(config.kinds, ["workload", "workload-instance"]);
        assert!(parse(&["--token-file", "t", "--concurrency", "0"]).is_err());
        assert!(parse(&[]).is_err(), "a token is needed");
    }

    #[test]
    fn what_helm_is_run_by_needs_no_token() {
        let part = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap().part;
        assert!(matches!(part(&["x", "helm-post-render", "f"]), Some(Part::HelmPostRender { .. })));
        assert!(matches!(part(&["x", "helm-child", "helm", "--", "--version"]), Some(Part::HelmChild(_))));
    }
}
