//! `tptctl get`: objects as tables or data.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use threeport::kind::Kind;
use threeport::v1::{ListObjectsRequest, Object};
use threeport_sdk::Client;
use threeport_sdk::client::{ErasedChange, WatchOptions};
use threeport_sdk::document;

use crate::error::Usage;
use crate::named;
use crate::session::Session;
use crate::table::Table;
use crate::view::{self, Width};

/// Show one object, or all of a kind
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl get workloads                            all of the project
  tptctl get wi web-default -o yaml               one, as a document that `apply` takes
  tptctl get workload-instances --selector tier=dev --all-projects
  tptctl get workload web --watch                 and every change of it")]
pub struct Get {
    /// What to show: a kind, its plural or a short name (`tptctl kinds` lists them), or `kind/name`
    kind: String,
    /// The object's name; all objects when left out
    name: Option<String>,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    /// Only objects with these labels: `tier=dev,team=shop`
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects for which this holds: `labels.tier = "dev" AND status.health != "Healthy"`
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// The objects of all projects
    #[arg(long, short = 'A')]
    all_projects: bool,
    /// Go on with every change
    #[arg(long, short)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Table,
    /// With more columns
    Wide,
    Json,
    /// As documents that `apply` takes
    Yaml,
    /// As `kind/name`
    Name,
}

impl Get {
    pub async fn run(mut self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let (kind, name) = named::kind_and_name(&client.kinds().await?, &self.kind, self.name.as_deref())?;
        self.name = name;
        if self.name.is_some() && (self.all_projects || self.selector.is_some() || self.filter.is_some()) {
            bail!(Usage("a name needs no selector, filter or --all-projects; leave one out".into()));
        }
        let filter = self.filter()?;
        if self.watch {
            return self.follow(session, &client, &kind, filter).await;
        }
        if let Some(name) = &self.name {
            let object = client.get_erased(&kind.name, &session.project_of(&kind)?, name).await?;
            return self.show(session, &kind, &[object], true);
        }
        let project = self.project(session, &kind)?;
        let request = ListObjectsRequest { kind: kind.name.clone(), project, filter, ..Default::default() };
        let list = client.list_all_erased(request).await?;
        if list.items.is_empty() && kind.is_in_project && !self.all_projects {
            client.get_erased("project", "", &session.project()?).await?;
        }
        self.show(session, &kind, &list.items, false)
    }

    fn project(&self, session: &Session, kind: &Kind) -> Result<String> {
        if self.all_projects && kind.is_in_project { Ok("-".into()) } else { session.project_of(kind) }
    }

    fn width(&self) -> Width {
        Width { has_project: self.all_projects, is_wide: self.output == Format::Wide }
    }

    /// Selector and filter in the server's language.
    fn filter(&self) -> Result<String> {
        let mut terms: Vec<String> = self.filter.iter().map(|filter| filter.trim().to_owned()).collect();
        for label in self.selector.iter().flat_map(|selector| selector.split(',')) {
            let Some((key, value)) = label.split_once('=') else {
                bail!(Usage(format!("`{label}` selects nothing; write --selector key=value,key=value")));
            };
            let value = value.trim_start_matches('=').trim();
            // Keys such as `app.kubernetes.io/name` are no plain path.
            terms.push(format!("labels[{}] = {}", quoted(key.trim()), quoted(value)));
        }
        Ok(terms.join(" AND "))
    }

    fn show(&self, session: &Session, kind: &Kind, objects: &[Object], is_one: bool) -> Result<()> {
        let terminal = &session.terminal;
        match self.output {
            Format::Table | Format::Wide if objects.is_empty() => {
                let place = if self.all_projects || !kind.is_in_project {
                    String::new()
                } else {
                    format!(" in project `{}`", session.project()?)
                };
                terminal.note(format_args!("no {}{place}", kind.plural));
                Ok(())
            }
            Format::Table | Format::Wide => {
                let mut table = Table::new(view::headings(kind, self.width()));
                for object in objects {
                    table.row(view::cells(kind, object, self.width()));
                }
                terminal.data(table.render(&|cell| terminal.paint(cell)))
            }
            Format::Json if is_one => {
                objects.iter().try_for_each(|object| terminal.data(format_args!("{:#}", view::json(object))))
            }
            Format::Json => {
                let list: Vec<_> = objects.iter().map(view::json).collect();
                terminal.data(format_args!("{:#}", serde_json::Value::from(list)))
            }
            Format::Yaml if objects.is_empty() => Ok(()),
            Format::Yaml => terminal.data(document::to_yaml(objects)?.trim_end()),
            Format::Name => objects.iter().try_for_each(|object| terminal.data(view::title(object))),
        }
    }

    async fn follow(&self, session: &Session, client: &Client, kind: &Arc<Kind>, filter: String) -> Result<()> {
        let terminal = &session.terminal;
        let project = self.project(session, kind)?;
        let options = WatchOptions { kinds: vec![kind.name.clone()], project, filter, from_position: None };
        let mut changes = std::pin::pin!(client.watch_erased(options));
        let mut table = Table::new(view::headings(kind, self.width()));
        let is_wanted = |object: &Object| self.name.as_ref().is_none_or(|name| view::meta(object).name == *name);
        let mut has_begun = false;
        while let Some(change) = changes.next().await {
            match change? {
                ErasedChange::Listed { objects, .. } => {
                    let objects: Vec<Object> = objects.into_iter().filter(is_wanted).collect();
                    if !matches!(self.output, Format::Table | Format::Wide) {
                        self.show(session, kind, &objects, true)?;
                        continue;
                    }
                    for object in &objects {
                        table.row(view::cells(kind, object, self.width()));
                    }
                    if let (true, Some(name)) = (objects.is_empty(), &self.name) {
                        terminal.note(format_args!("{} `{name}` is not there; waiting for it", kind.name));
                    }
                    if !has_begun {
                        terminal.data(table.render(&|cell| terminal.paint(cell)))?;
                        table.take_lines(&str::to_owned);
                        has_begun = true;
                    }
                }
                ErasedChange::Written { object, .. } if is_wanted(&object) => {
                    if !matches!(self.output, Format::Table | Format::Wide) {
                        self.show(session, kind, &[object], true)?;
                        continue;
                    }
                    table.row(view::cells(kind, &object, self.width()));
                }
                ErasedChange::Removed { object, .. } if is_wanted(&object) => {
                    terminal.note(format_args!("{} is gone", view::title(&object)));
                }
                _ => {}
            }
            for line in table.take_lines(&|cell| terminal.paint(cell)) {
                terminal.data(line)?;
            }
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
