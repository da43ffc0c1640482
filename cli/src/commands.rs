//! The verbs, one file each.

mod down;
mod status;
mod supervise;
mod up;

pub use self::supervise::detach;

use anyhow::Result;
use clap::Subcommand;

use crate::session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    #[command(hide = true)]
    Supervise(supervise::Supervise),
}

impl Command {
    pub async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Up(command) => command.run(session).await,
            Self::Down(command) => command.run(session).await,
            Self::Status(command) => command.run(session).await,
            Self::Supervise(command) => command.run().await,
        }
    }
}
