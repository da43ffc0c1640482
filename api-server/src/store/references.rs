//! Where specs of a plan name other objects: found, allowed, locked so that they stay, and checked against.

use std::collections::{BTreeSet, HashMap, HashSet};

use threeport::json::{Violation, to_struct};
use threeport::kind::Kind;
use threeport::object::Object;
use threeport::registry::Registry;
use threeport::v1;
use uuid::Uuid;

use super::admit::Key;
use super::draft::Draft;
use super::plan::{Plan, key};
use super::row::{self, Row};
use super::{Visibility, pins, statement};
use crate::error::{Error, Result};
use crate::rules;

/// A field that names an object.
struct Naming {
    draft: usize,
    place: String,
    target: Key,
}

/// What a reference leads to.
#[derive(Clone, Debug)]
pub enum Target {
    /// Another object of the plan.
    Drafted(usize),
    Stored(Box<Row>),
}

/// What a plan's objects use, by id.
pub type Targets = HashMap<Uuid, Target>;

impl Plan<'_> {
    /// Resolves every reference, locks what is used, and checks each object with what it uses at hand.
    pub async fn resolve(&mut self) -> Result<Targets> {
        self.lock_homes().await?;
        let namings = self.namings();
        let stored = self.lock_targets(&namings).await?;
        let drafted = self.drafts.iter().enumerate().map(|(index, draft)| (draft.key(), index));
        let drafted = drafted.collect::<HashMap<_, _>>();
        let mut targets = HashMap::new();
        for naming in namings {
            let found = match (drafted.get(&naming.target), stored.get(&naming.target)) {
                (Some(index), _) => Some((self.drafts[*index].id, Target::Drafted(*index))),
                (None, row) => row.map(|row| (row.id, Target::Stored(Box::new(row.clone())))),
            };
            if let Some((id, target)) = found.filter(|(_, target)| self.may_use(&naming, target)) {
                let uses = &mut self.drafts[naming.draft].uses;
                if !uses.contains(&id) {
                    uses.push(id);
                }
                targets.insert(id, target);
                continue;
            }
            self.unresolved.insert(naming.draft);
            if !self.failed.contains(&naming.target) {
                self.violations.push(self.unusable(&naming, stored.get(&naming.target)));
            }
        }
        self.refuse_circles().await?;
        Ok(targets)
    }

    /// Checks the objects whose own spec or whose used objects change against what they use.
    pub async fn check_uses(&mut self, targets: &Targets) -> Result<()> {
        for index in 0..self.drafts.len() {
            let draft = &self.drafts[index];
            let moves = |id: &Uuid| matches!(targets.get(id), Some(Target::Drafted(used)) if self.drafts[*used].is_spec_changed());
            let is_same = !draft.is_spec_changed() && !draft.uses.iter().any(moves);
            if is_same || self.unresolved.contains(&index) {
                continue;
            }
            let mut uses = draft.uses.iter().map(|id| self.used(&targets[id])).collect::<Result<Vec<_>>>()?;
            let draft = draft.clone();
            match pins::pinned_by(self, &draft, targets).await? {
                Ok(Some(pinned)) => {
                    uses.retain(|used| used.kind != pins::DEFINITION);
                    uses.push(pinned);
                }
                Ok(None) => {}
                Err(violation) => self.violations.push(violation),
            }
            let found = rules::check_uses(&draft.kind, &draft.meta, &draft.spec, &uses);
            self.violations.extend(found.into_iter().map(|v| Violation::new(draft.at(&v.field), v.description)));
        }
        Ok(())
    }

    /// A used object in the clear.
    pub fn used(&self, target: &Target) -> Result<v1::Object> {
        match target {
            Target::Drafted(index) => Ok(revealed(&self.drafts[*index])),
            Target::Stored(row) => {
                let kind = self.registry.get(&row.kind).ok_or_else(|| Error::UnknownKind(row.kind.clone()))?;
                self.store.object_of(kind, row, None, true, Visibility::Revealed)
            }
        }
    }

    /// Holds the projects in which the plan makes something, and the kinds registered at run time, against deletion. What is
    /// there already holds its project itself.
    async fn lock_homes(&self) -> Result<()> {
        let drafted = self.drafts.iter().map(|draft| draft.id).collect::<HashSet<_>>();
        let new = self.drafts.iter().filter(|draft| draft.before.is_none());
        let homes = new.filter_map(|draft| self.homes.get(&draft.meta.project)).map(|home| home.id);
        let mut wanted = homes.filter(|id| !drafted.contains(id)).collect::<BTreeSet<_>>();
        wanted.extend(self.stored_kinds().await?);
        let ids = wanted.into_iter().collect::<Vec<_>>();
        let held = self.hold(&ids).await?;
        let all_live = held.len() == ids.len() && !held.iter().any(Row::is_deleting);
        if all_live { Ok(()) } else { Err(Error::Conflict) }
    }

    /// The registrations of the plan's kinds; those of our own and of the plan itself need none.
    async fn stored_kinds(&self) -> Result<Vec<Uuid>> {
        let registers = |name: &str| {
            self.drafts.iter().any(|draft| draft.kind.name == v1::ObjectKind::KIND && draft.meta.name == name)
        };
        let names = self.drafts.iter().map(|draft| draft.kind.name.as_str());
        let names = names.filter(|name| Registry::built_in().get(name).is_none() && !registers(name));
        let names = names.collect::<BTreeSet<_>>();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, name, deleted_at IS NOT NULL AS is_deleting FROM objects
                   WHERE kind = 'object-kind' AND project = '' AND name = ANY($1)";
        let rows = statement::query(self.tx, sql, &[&names.iter().collect::<Vec<_>>()]).await?;
        if let Some(deleting) = rows.iter().find(|row| row.get("is_deleting")) {
            return Err(Error::BeingDeleted { kind: v1::ObjectKind::KIND.into(), name: deleting.get("name") });
        }
        let is_stored = |name: &str| rows.iter().any(|row| row.get::<_, &str>("name") == name);
        match names.into_iter().find(|name| !is_stored(name)) {
            // Deleted since this server has read the kinds.
            Some(gone) => Err(Error::UnknownKind(gone.to_owned())),
            None => Ok(rows.iter().map(|row| row.get("id")).collect()),
        }
    }

    /// Locks objects against deletion and narrowing, in the order of ids, then reads them in a second statement: the
    /// locking one may have waited for a writer and answer what was there before.
    async fn hold(&self, ids: &[Uuid]) -> Result<Vec<Row>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let lock = "SELECT 1 FROM objects WHERE id = ANY($1) ORDER BY id FOR KEY SHARE";
        let read = format!("SELECT {} FROM objects o WHERE o.id = ANY($1) ORDER BY o.id", row::COLUMNS);
        let (_, rows) = statement::query_both(self.tx, (lock, &[&ids]), (&read, &[&ids])).await?;
        Ok(rows.iter().map(Row::from).collect())
    }

    fn namings(&mut self) -> Vec<Naming> {
        let (mut namings, mut violations) = (Vec::new(), Vec::new());
        for (index, draft) in self.drafts.iter().enumerate() {
            for reference in &draft.kind.references {
                let Some(kind) = self.registry.get(&reference.kind) else { continue };
                reference.path.visit(&draft.spec, "spec", &mut |place, value| {
                    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return };
                    match target(kind, text, home(draft)) {
                        Ok(target) => namings.push(Naming { draft: index, place: draft.at(place), target }),
                        Err(why) => violations.push((index, Violation::new(draft.at(place), why))),
                    }
                });
            }
        }
        for (index, violation) in violations {
            self.unresolved.insert(index);
            self.violations.push(violation);
        }
        namings
    }

    /// Reads the stored objects that are named and holds them against deletion, in the order of ids.
    async fn lock_targets(&self, namings: &[Naming]) -> Result<HashMap<Key, Row>> {
        let drafted = self.drafts.iter().map(Draft::key).collect::<HashSet<_>>();
        let wanted = namings.iter().map(|naming| &naming.target).filter(|target| !drafted.contains(target));
        let wanted = wanted.collect::<BTreeSet<_>>();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let (mut kinds, mut projects, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, project, name) in wanted {
            kinds.push(kind);
            projects.push(project);
            names.push(name);
        }
        let sql = "SELECT o.id FROM objects o
                   WHERE (o.kind, o.project, o.name) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))";
        let found = statement::query(self.tx, sql, &[&kinds, &projects, &names]).await?;
        let ids = found.iter().map(|row| row.get("id")).collect::<Vec<Uuid>>();
        Ok(self.hold(&ids).await?.into_iter().map(|row| (key(&row), row)).collect())
    }

    fn may_use(&self, naming: &Naming, target: &Target) -> bool {
        let draft = &self.drafts[naming.draft];
        let (project, shared_with) = match target {
            Target::Drafted(index) => (&self.drafts[*index].meta.project, &self.drafts[*index].meta.shared_with),
            Target::Stored(row) if row.is_deleting() => return false,
            Target::Stored(row) => (&row.project, &row.shared_with),
        };
        project.is_empty()
            || project == home(draft)
            || shared_with.iter().any(|shared| shared == "*" || shared == home(draft))
    }

    fn unusable(&self, naming: &Naming, stored: Option<&Row>) -> Violation {
        let (kind, project, name) = &naming.target;
        let home = home(&self.drafts[naming.draft]);
        let why = match stored {
            Some(row) if row.is_deleting() => format!("{kind} `{name}` is being deleted"),
            _ if project == home => format!("{kind} `{name}` not found in project `{project}`"),
            _ if project.is_empty() => format!("{kind} `{name}` not found"),
            _ => format!("{kind} `{project}/{name}` not found, or not shared with project `{home}`"),
        };
        Violation::new(naming.place.clone(), why)
    }
}

/// The project whose objects a draft may name without saying so.
fn home(draft: &Draft) -> &str {
    if draft.kind.name == "project" { &draft.meta.name } else { &draft.meta.project }
}

/// What `name` or `project/name` stands for in project `home`.
fn target(kind: &Kind, text: &str, home: &str) -> Result<Key, String> {
    let (project, name) = match text.split_once('/') {
        Some((project, name)) => (project, name),
        None if kind.is_in_project => (home, text),
        None => ("", text),
    };
    if !kind.is_in_project && !project.is_empty() {
        return Err(format!("a {} lives in no project; write `{name}`", kind.name));
    }
    if kind.is_in_project && project.is_empty() {
        return Err(format!("write `project/{name}`"));
    }
    if name.is_empty() || name.contains('/') {
        return Err(format!("{text:?} is neither `name` nor `project/name`"));
    }
    Ok((kind.name.clone(), project.to_owned(), name.to_owned()))
}

/// A draft as rules see it.
fn revealed(draft: &Draft) -> v1::Object {
    let mut meta = draft.meta.clone();
    meta.generation = generation(draft);
    let stored = draft.before.as_ref().map(|before| before.row.status.clone());
    let status = draft.derived.status.clone().or(stored);
    v1::Object {
        kind: draft.kind.name.clone(),
        meta: Some(meta),
        spec: Some(to_struct(draft.spec.clone())),
        status: status.map(to_struct),
    }
}

/// The generation that the object has once the draft is stored.
pub fn generation(draft: &Draft) -> i64 {
    draft.before.as_ref().map_or(1, |before| before.row.generation + i64::from(draft.is_spec_changed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_at_home_unless_they_say_where() {
        let kind = Registry::built_in().get("workload-definition").unwrap();
        assert_eq!(target(kind, "web", "shop").unwrap().1, "shop");
        assert_eq!(target(kind, "platform/web", "shop").unwrap().1, "platform");
        assert!(target(kind, "a/b/c", "shop").is_err());
        assert!(target(kind, "platform/", "shop").is_err());
    }
}
