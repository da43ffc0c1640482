//! `tptctl diff`: what an apply would change, as an exit code too.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use threeport::json::to_json;
use threeport::v1::ApplyResult;

use super::apply;
use crate::error::Differs;
use crate::session::Session;
use crate::{differences, view};

/// Show what applying documents would change, children included, and change nothing
///
/// Ends with exit code 0 if nothing would, and 3 if something would.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl diff -f shop.yaml
  tptctl diff -f platform/ -o json
  tptctl diff -f shop.yaml && echo as applied")]
pub struct Diff {
    /// File with documents, folder of such files, or - for stdin
    #[arg(long, short, required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    /// A line for each object and field
    #[default]
    Text,
    /// A list of objects with their differences
    Json,
}

impl Diff {
    pub async fn run(self, session: &Session) -> Result<()> {
        let (_, results) = apply::send(session, &self.file, true, String::new()).await?;
        let changed = results.iter().map(count).sum::<usize>();
        match self.output {
            Output::Json => {
                let all = results.iter().map(entry).collect::<Vec<_>>();
                session.terminal.data(serde_json::to_string_pretty(&all)?)?;
            }
            Output::Text => {
                for line in results
                    .iter()
                    .filter(|result| count(result) > 0)
                    .flat_map(|result| differences::lines(result, false))
                {
                    session.terminal.data(line)?;
                }
            }
        }
        apply::warn(session, &results);
        if changed == 0 { Ok(()) } else { Err(Differs(changed).into()) }
    }
}

/// How many objects would change.
fn count(result: &ApplyResult) -> usize {
    usize::from(result.outcome != "unchanged") + result.children.iter().map(count).sum::<usize>()
}

fn entry(result: &ApplyResult) -> Value {
    let meta = result.object.as_ref().map(view::meta).unwrap_or_default();
    json!({
        "kind": result.object.as_ref().map(|object| object.kind.clone()),
        "project": meta.project,
        "name": meta.name,
        "outcome": result.outcome,
        "differences": result.differences.iter().map(to_json).collect::<Vec<_>>(),
        "children": result.children.iter().map(entry).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_changes_counts_though_its_owner_stays() {
        let of = |outcome: &str, children: Vec<ApplyResult>| ApplyResult {
            outcome: outcome.into(),
            children,
            ..ApplyResult::default()
        };
        assert_eq!(count(&of("unchanged", vec![of("unchanged", vec![])])), 0);
        assert_eq!(count(&of("unchanged", vec![of("updated", vec![]), of("created", vec![])])), 2);
    }
}
