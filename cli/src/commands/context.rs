//! `tptctl context`: which server to talk to.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use threeport_sdk::context::{Context, Contexts};

use crate::error::Usage;
use crate::session::Session;
use crate::table::Table;

/// Show and choose contexts: which server, as whom, in which project
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl context list
  tptctl context use demo
  curl -H \"Authorization: Bearer $(tptctl context token)\" http://127.0.0.1:8080/v1/kinds
  tptctl context add team --address https://threeport.example --token-from team.token --default-project shop")]
pub struct ContextCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List all contexts
    List,
    /// Make a context the current one
    Use { name: String },
    /// Show the context in use, without its token
    Show,
    /// Print the token of the context in use, for curl
    Token,
    /// Add a context, or change the one of this name
    Add(Add),
    /// Remove a context; what it points to stays
    Remove { name: String },
}

#[derive(Args, Debug)]
struct Add {
    name: String,
    /// The API server
    #[arg(long, value_name = "URL")]
    address: String,
    /// File with the bearer token; - for stdin
    #[arg(long, value_name = "FILE")]
    token_from: Option<PathBuf>,
    /// The project of commands that name none
    #[arg(long, value_name = "NAME", default_value = "default")]
    default_project: String,
}

impl ContextCommand {
    #[expect(clippy::unused_async, reason = "all verbs have one signature")]
    pub async fn run(self, session: &Session) -> Result<()> {
        let path = Contexts::path()?;
        let mut contexts = Contexts::load(&path)?;
        let terminal = &session.terminal;
        match self.verb {
            Verb::List => list(session, &contexts)?,
            Verb::Show => {
                let context = session.context()?;
                for (title, value) in [("name", context.name), ("server", context.server), ("project", context.project)]
                {
                    terminal.data(format_args!("{title:<9}{value}"))?;
                }
            }
            Verb::Token => match session.context()?.token {
                token if token.is_empty() => bail!("the context has no token; `tptctl context add` takes one"),
                token => terminal.data(token)?,
            },
            Verb::Use { name } => {
                let context = contexts.resolve(Some(&name))?;
                contexts.current.clone_from(&name);
                contexts.save(&path)?;
                terminal.note(format_args!("now using `{name}`: {}", context.server));
            }
            Verb::Add(add) => {
                let name = add.name.clone();
                contexts.put(add.context()?);
                if contexts.current.is_empty() {
                    contexts.current.clone_from(&name);
                }
                contexts.save(&path)?;
                terminal.note(format_args!("context `{name}` is written to {}", path.display()));
            }
            Verb::Remove { name } => {
                if !contexts.remove(&name) {
                    bail!(Usage(format!("no context `{name}`; `tptctl context list` lists them")));
                }
                contexts.save(&path)?;
                terminal.note(format_args!("context `{name}` is removed"));
            }
        }
        Ok(())
    }
}

impl Add {
    fn context(self) -> Result<Context> {
        let token = match &self.token_from {
            None => String::new(),
            Some(file) if file.as_os_str() == "-" => {
                std::io::read_to_string(std::io::stdin()).context("reading stdin")?
            }
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
        };
        Ok(Context {
            name: self.name,
            server: self.address,
            token: token.trim().to_owned(),
            project: self.default_project,
        })
    }
}

fn list(session: &Session, contexts: &Contexts) -> Result<()> {
    if contexts.contexts.is_empty() {
        session.terminal.note("there are no contexts; `tptctl up` writes one");
        return Ok(());
    }
    let mut table = Table::new(["CURRENT", "NAME", "SERVER", "PROJECT"]);
    for context in &contexts.contexts {
        let mark = if context.name == contexts.current { "*" } else { "" };
        table.row([mark, &context.name, &context.server, &context.project]);
    }
    session.terminal.data(table.render(&str::to_owned))
}
