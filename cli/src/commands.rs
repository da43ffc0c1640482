//! The verbs, one file each.

mod apply;
mod completion;
mod context;
mod delete;
mod deploy;
mod describe;
mod diff;
mod down;
mod events;
mod explain;
mod get;
mod history;
mod kinds;
mod render;
mod runtime;
mod status;
mod supervise;
mod tree;
mod up;
mod version;
mod wait_for;

use anyhow::Result;
use clap::Subcommand;

pub use self::supervise::detach;
use crate::session::Session;

macro_rules! commands {
    ($($(#[$attribute:meta])* $verb:ident($arguments:ty) => $name:literal;)*) => {
        /// A verb with its arguments.
        #[derive(Subcommand, Debug)]
        pub enum Command {
            $($(#[$attribute])* #[command(name = $name)] $verb($arguments),)*
        }

        impl Command {
            /// What the user calls it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$verb(_) => $name,)*
                }
            }

            pub async fn run(self, session: &Session) -> Result<()> {
                match self {
                    $(Self::$verb(command) => Box::pin(command.run(session)).await,)*
                }
            }
        }
    };
}

commands! {
    Up(up::Up) => "up";
    Down(down::Down) => "down";
    Status(status::Status) => "status";
    Deploy(Box<deploy::Deploy>) => "deploy";
    Apply(apply::Apply) => "apply";
    Diff(diff::Diff) => "diff";
    Get(get::Get) => "get";
    Describe(describe::Describe) => "describe";
    Tree(tree::Tree) => "tree";
    Render(render::Render) => "render";
    Wait(wait_for::Wait) => "wait";
    Events(events::Events) => "events";
    History(history::History) => "history";
    Delete(delete::Delete) => "delete";
    Runtime(Box<runtime::Runtime>) => "runtime";
    Context(context::ContextCommand) => "context";
    Explain(explain::Explain) => "explain";
    Kinds(kinds::Kinds) => "kinds";
    Version(version::Version) => "version";
    Completion(completion::Completion) => "completion";
    #[command(hide = true)]
    Supervise(supervise::Supervise) => "supervise";
}
