//! What every command has at hand: the streams, the flags that all verbs take, and the way to the server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use threeport::kind::Kind;
use threeport::registry::Registry;
use threeport::spelling::closest;
use threeport_sdk::Client;
use threeport_sdk::context::{Context, Contexts};

use crate::error::Usage;
use crate::terminal::Terminal;

/// Flags of all verbs
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Context to use instead of the current one
    #[arg(long, global = true, env = "THREEPORT_CONTEXT", value_name = "NAME", help_heading = "Global options")]
    pub context: Option<String>,
    /// Project to work in instead of the context's
    #[arg(long, short, global = true, value_name = "NAME", help_heading = "Global options")]
    pub project: Option<String>,
    /// Address of the API server instead of the context's, such as `http://127.0.0.1:8080`
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub server: Option<String>,
    /// File with the bearer token instead of the context's
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub token_file: Option<PathBuf>,
    /// Say more on stderr; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// One run of tptctl.
pub struct Session {
    pub terminal: Arc<Terminal>,
    pub globals: Globals,
}

impl Session {
    /// The context to work in, flags applied.
    pub fn context(&self) -> Result<Context> {
        let contexts = Contexts::load(&Contexts::path()?)?;
        let named = self.globals.context.as_deref();
        let mut context = match &self.globals.server {
            // With a server of its own a command needs no context.
            Some(server) => {
                let known = contexts.resolve(named).ok().filter(|known| known.server == *server);
                known.unwrap_or_else(|| Context {
                    server: server.clone(),
                    project: "default".into(),
                    ..Context::default()
                })
            }
            None => contexts.resolve(named)?,
        };
        if let Some(file) = &self.globals.token_file {
            let token =
                std::fs::read_to_string(file).with_context(|| format!("reading token file {}", file.display()))?;
            token.trim().clone_into(&mut context.token);
        }
        if let Some(project) = &self.globals.project {
            context.project.clone_from(project);
        }
        Ok(context)
    }

    /// A client of the context's server.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::from_context(&self.context()?)?)
    }

    /// The project to work in.
    pub fn project(&self) -> Result<String> {
        Ok(self.context()?.project)
    }

    /// The project of an object of this kind: none for kinds in no project.
    pub fn project_of(&self, kind: &Kind) -> Result<String> {
        if kind.is_in_project { self.project() } else { Ok(String::new()) }
    }
}

/// The kind that a user means by a name, plural or alias.
pub fn find_kind(registry: &Registry, name: &str) -> Result<Arc<Kind>> {
    let lower = name.to_ascii_lowercase();
    // Short names have plurals too: `runtimes`.
    let found = registry.find(&lower).or_else(|| registry.find(lower.strip_suffix('s')?));
    if let Some(kind) = found {
        return Ok(Arc::clone(kind));
    }
    let names: Vec<String> = registry
        .kinds()
        .flat_map(|kind| [vec![kind.name.clone(), kind.plural.clone()], kind.aliases.clone()].concat())
        .collect();
    let hint = match closest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`tptctl kinds` lists them".to_owned(),
    };
    Err(Usage(format!("no kind `{name}`; {hint}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_any_of_its_names_and_a_misspelt_one_is_corrected() {
        let registry = Registry::built_in();
        for name in ["workload-instance", "workload-instances", "wi", "WI", "instances"] {
            assert_eq!(find_kind(registry, name).unwrap().name, "workload-instance");
        }
        let error = find_kind(registry, "worklod").unwrap_err();
        assert_eq!(error.to_string(), "no kind `worklod`; did you mean `workload`?");
        assert_eq!(crate::error::exit_code(&error), crate::error::USAGE);
    }
}
