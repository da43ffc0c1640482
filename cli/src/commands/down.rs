//! `tptctl down`: stops a control plane on this machine.

use anyhow::{Result, bail};
use clap::Args;
use threeport_sdk::context::Contexts;

use crate::error::Usage;
use crate::local::instance::Instance;
use crate::local::launcher;
use crate::session::Session;

/// Stop a control plane on this machine
///
/// What it has deployed to real clusters keeps running there. Its data stays unless --delete-data is given.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl down                      stop `local`; `tptctl up` goes on where it was
  tptctl down demo --delete-data   stop `demo` and remove its data, logs and context")]
pub struct Down {
    /// Name of the control plane
    #[arg(default_value = "local")]
    name: String,
    /// Also remove its data, logs and context, for good
    #[arg(long)]
    delete_data: bool,
    /// Ask nothing; needed with --delete-data where there is no terminal
    #[arg(long, short)]
    yes: bool,
}

impl Down {
    pub async fn run(self, session: &Session) -> Result<()> {
        let instance = Instance::named(&self.name)?;
        let terminal = &session.terminal;
        if self.delete_data {
            instance.forget_logs()?;
        }
        if !instance.directory.is_dir() {
            terminal.note(format_args!("there is no control plane `{}`", self.name));
            return Ok(());
        }
        let question = format!("remove control plane `{}` and all of its data?", self.name);
        if self.delete_data && !self.yes {
            match terminal.confirm(&question) {
                Some(true) => {}
                Some(false) => bail!("nothing was done"),
                None => bail!(Usage(format!("there is nobody to ask \"{question}\"; pass --yes to do it"))),
            }
        }
        let ran = launcher::stop(&instance, &**terminal).await?;
        terminal.settle();
        if self.delete_data {
            instance.remove()?;
            forget_context(&self.name)?;
            terminal.note(format_args!("control plane `{}` is removed", self.name));
        } else {
            let state = if ran { "is stopped" } else { "was not running" };
            terminal.note(format_args!(
                "control plane `{}` {state}; its data is in {}",
                self.name,
                instance.directory.display()
            ));
        }
        Ok(())
    }
}

fn forget_context(name: &str) -> Result<()> {
    let path = Contexts::path()?;
    let mut contexts = Contexts::load(&path)?;
    if contexts.remove(name) {
        contexts.save(&path)?;
    }
    Ok(())
}
