//! `tptctl kinds`: which kinds of object there are.

use anyhow::Result;
use clap::Args;

use crate::session::Session;
use crate::table::Table;

/// List the kinds of object, those registered at run time too
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl kinds
  tptctl explain workload     what a kind is made of")]
pub struct Kinds {}

impl Kinds {
    pub async fn run(self, session: &Session) -> Result<()> {
        let registry = session.client()?.kinds().await?;
        let mut table = Table::new(["KIND", "SHORT", "IN PROJECT", "CONTROLLERS", "MESSAGE"]);
        for kind in registry.kinds() {
            let controllers: Vec<&str> = kind.controllers.iter().map(|controller| controller.name.as_str()).collect();
            let is_in_project = if kind.is_in_project { "yes" } else { "no" };
            table.row([
                &kind.name,
                &kind.aliases.join(","),
                is_in_project,
                &controllers.join(","),
                kind.message.full_name(),
            ]);
        }
        session.terminal.data(table.render(&str::to_owned))
    }
}
