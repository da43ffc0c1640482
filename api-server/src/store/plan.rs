//! What a write is about to do, worked out before the first row changes: all objects of the request and the children of
//! composites, their references, and everything that is wrong with any of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use deadpool_postgres::Transaction;
use threeport::json::{Violation, from_json};
use threeport::registry::Registry;
use threeport::v1::ProjectSpec;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::admit::{Admitted, Author, Input, Key, MAX_OBJECTS, Mode};
use super::draft::{Draft, Stored, prepare};
use super::row::{self, Row};
use super::{Store, delete, read, statement};
use crate::error::{Error, Result};

/// Objects that one transaction may write, children of composites included.
const MAX_DRAFTS: usize = 2000;

/// A project that objects of the plan live in.
#[derive(Clone, Debug)]
pub struct Home {
    pub id: Uuid,
    pub spec: ProjectSpec,
}

pub struct Plan<'a> {
    pub store: &'a Store,
    pub tx: &'a Transaction<'a>,
    /// The kinds in force, and those of this very request.
    pub registry: Arc<Registry>,
    pub drafts: Vec<Draft>,
    /// Children that composites of the plan no longer have.
    pub dropped: Vec<(Uuid, Row)>,
    pub homes: HashMap<String, Home>,
    pub violations: Vec<Violation>,
    /// The first refusal that isn't a violation of the request.
    pub refusal: Option<Error>,
    /// Objects that were left out because something is wrong with them: those that refer to them aren't to blame.
    pub failed: HashSet<Key>,
    /// Drafts whose references could not all be resolved: what they use can't be checked.
    pub unresolved: HashSet<usize>,
}

impl<'a> Plan<'a> {
    pub fn new(store: &'a Store, tx: &'a Transaction<'a>, registry: Arc<Registry>) -> Self {
        Self {
            store,
            tx,
            registry,
            drafts: Vec::new(),
            dropped: Vec::new(),
            homes: HashMap::new(),
            violations: Vec::new(),
            refusal: None,
            failed: HashSet::new(),
            unresolved: HashSet::new(),
        }
    }

    /// Drafts all inputs and the children that follow from them. The drafts of the inputs come first, in their order.
    pub async fn add(&mut self, admitted: Admitted) -> Result<()> {
        self.violations.extend(admitted.violations);
        self.failed.extend(admitted.failed);
        let mut level =
            admitted.inputs.into_iter().map(|input| (format!("{}spec", input.place), input)).collect::<Vec<_>>();
        while !level.is_empty() {
            let first = self.drafts.len();
            if first + level.len() > MAX_DRAFTS {
                let much = format!("more than {MAX_DRAFTS} objects with the children of composites; split the request");
                return Err(Error::invalid("objects", much));
            }
            let rows = self.lock_named(&level.iter().map(|(_, input)| input).collect::<Vec<_>>()).await?;
            // Projects first: what lives in them takes their defaults.
            level.sort_by_key(|(_, input)| input.kind.name != "project");
            for (spec_place, input) in level {
                let row = rows.get(&input.key()).cloned();
                self.draft(spec_place, input, row).await?;
            }
            level = self.expand(first).await?;
            let total = self.drafts.len() + level.len();
            if total > MAX_OBJECTS {
                let much = format!(
                    "{total} objects, children of composites included, are more than the {MAX_OBJECTS} that one request may write; split it"
                );
                return Err(Error::invalid("objects", much));
            }
        }
        Ok(())
    }

    /// Ends the planning: the violations of all objects, else the first refusal.
    pub fn verdict(&mut self) -> Result<()> {
        if !self.violations.is_empty() {
            return Err(Error::Invalid(std::mem::take(&mut self.violations)));
        }
        self.refusal.take().map_or(Ok(()), Err)
    }

    pub fn refuse(&mut self, error: Error) {
        self.refusal.get_or_insert(error);
    }

    /// Locks the rows that the inputs name against other writers, in the order of ids, and reads the projects that they live in.
    async fn lock_named(&mut self, inputs: &[&Input]) -> Result<HashMap<Key, Row>> {
        let (mut kinds, mut projects, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, project, name) in inputs.iter().map(|input| input.key()) {
            kinds.push(kind);
            projects.push(project);
            names.push(name);
        }
        let named = format!(
            "SELECT {} FROM objects o
             WHERE (o.kind, o.project, o.name) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
             ORDER BY o.id FOR NO KEY UPDATE",
            row::COLUMNS
        );
        let homes = "SELECT id, name, spec FROM objects WHERE kind = 'project' AND project = '' AND name = ANY($1)
                     AND deleted_at IS NULL";
        let unknown = inputs.iter().filter(|input| input.kind.is_in_project).map(|input| &input.meta.project);
        let unknown = unknown.filter(|name| !self.homes.contains_key(*name)).cloned().collect::<BTreeSet<_>>();
        let unknown = unknown.into_iter().collect::<Vec<_>>();
        let rows = if unknown.is_empty() {
            statement::query(self.tx, &named, &[&kinds, &projects, &names]).await?
        } else {
            let asked: [&(dyn ToSql + Sync); 3] = [&kinds, &projects, &names];
            let (rows, homes) = statement::query_both(self.tx, (&named, &asked), (homes, &[&unknown])).await?;
            for home in homes {
                let spec = from_json(home.get("spec")).map_err(|error| Error::Corrupt(format!("project: {error}")))?;
                self.homes.insert(home.get("name"), Home { id: home.get("id"), spec });
            }
            rows
        };
        Ok(rows.iter().map(Row::from).map(|row| (key(&row), row)).collect())
    }

    async fn draft(&mut self, spec_place: String, input: Input, row: Option<Row>) -> Result<()> {
        let key = input.key();
        if let Some(error) = self.refusal_of(&input, &spec_place, row.as_ref()).await? {
            match error {
                Error::Invalid(violations) => self.violations.extend(violations),
                error => self.refuse(error),
            }
            self.failed.insert(key);
            return Ok(());
        }
        let home = self.homes.get(&input.meta.project).map(|home| home.spec.clone());
        if input.kind.is_in_project && home.is_none() {
            if !self.failed.contains(&("project".into(), String::new(), input.meta.project.clone())) {
                let missing = format!("project `{}` not found; create it first", input.meta.project);
                self.violations.push(Violation::new(format!("{}meta.project", input.place), missing));
            }
            self.failed.insert(key);
            return Ok(());
        }
        let id = row.as_ref().map_or_else(Uuid::now_v7, |row| row.id);
        let before = row.map(|row| self.reveal(&input, row)).transpose()?;
        match prepare(input, spec_place, id, before, home.as_ref()) {
            Ok(draft) => {
                if draft.kind.name == "project" {
                    let spec = from_json(draft.spec.clone()).unwrap_or_default();
                    self.homes.insert(draft.meta.name.clone(), Home { id, spec });
                }
                self.drafts.push(draft);
            }
            Err(violations) => {
                self.violations.extend(violations);
                self.failed.insert(key);
            }
        }
        Ok(())
    }

    fn reveal(&self, input: &Input, row: Row) -> Result<Stored> {
        let mut spec = row.spec.clone();
        self.store.secrets.reveal(&input.kind, row.id, &mut spec)?;
        Ok(Stored { row, spec })
    }

    /// Why the stored row forbids this write, whatever the spec.
    async fn refusal_of(&self, input: &Input, spec_place: &str, row: Option<&Row>) -> Result<Option<Error>> {
        let (kind, name) = (input.kind.name.clone(), input.meta.name.clone());
        let asks_for = (!input.meta.etag.is_empty(), input.meta.revision != 0);
        let Some(row) = row else {
            return Ok(match input.mode {
                Mode::Update(_) => Some(Error::NotFound { kind, name }),
                _ if asks_for != (false, false) => Some(Error::Stale { kind, name }),
                _ => None,
            });
        };
        if let Some(error) = self.trespass(input, spec_place, row).await? {
            return Ok(Some(error));
        }
        let is_stale =
            (asks_for.0 && !row.has_etag(&input.meta.etag)) || (asks_for.1 && input.meta.revision != row.revision);
        Ok(match input.mode {
            _ if row.is_deleting() => Some(Error::BeingDeleted { kind, name }),
            Mode::Create => Some(Error::AlreadyExists { kind, name }),
            _ if is_stale => Some(Error::Stale { kind, name }),
            _ => None,
        })
    }

    /// Whether the object is somebody else's to write.
    async fn trespass(&self, input: &Input, spec_place: &str, row: &Row) -> Result<Option<Error>> {
        let is_ours = match &input.author {
            Author::User => row.owner_id.is_none(),
            Author::Composite(parent) => {
                row.owner_id == Some(self.drafts[*parent].id) && row.owner_controller.is_none()
            }
            Author::Controller(owner, controller) => {
                row.owner_id == Some(*owner) && row.owner_controller.as_deref() == Some(controller)
            }
        };
        if is_ours {
            return Ok(None);
        }
        let owner = match row.owner_id {
            Some(id) => read::references(self.tx, &[id]).await?.remove(&id).map(|owner| delete::describe(&owner)),
            None => None,
        };
        let (kind, name) = (row.kind.clone(), row.name.clone());
        if input.author == Author::User {
            return Ok(Some(Error::Owned { kind, name, owner: owner.unwrap_or_default() }));
        }
        let taken = match owner {
            Some(owner) => format!("{kind} `{name}` exists and is owned by {owner}; choose another name"),
            None => format!("{kind} `{name}` exists and is nobody's child; choose another name or delete it"),
        };
        Ok(Some(Error::invalid(spec_place, taken)))
    }
}

pub fn key(row: &Row) -> Key {
    (row.kind.clone(), row.project.clone(), row.name.clone())
}
