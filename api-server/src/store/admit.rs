//! What is checked of a write before the database is asked: kind, names, sizes, characters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use threeport::json::{Violation, check_nul, from_struct, join};
use threeport::kind::Kind;
use threeport::registry::Registry;
use threeport::render::namespaces::is_label;
use threeport::v1::{self, ObjectMeta};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Objects that one request may write.
pub const MAX_OBJECTS: usize = 500;
const MAX_SPEC: usize = 1 << 20;
const MAX_ENTRIES: usize = 64;
const MAX_NAME: usize = 63;
const MAX_KEY: usize = 317;
const MAX_LABEL: usize = 256;
const MAX_ANNOTATION: usize = 64 << 10;

/// How an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refused if it exists.
    Create,
    /// Created or replaced.
    Apply,
    /// Changes what these paths name; refused if it doesn't exist.
    Update(Vec<String>),
}

/// On whose behalf an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    User,
    /// The composite at this index of the plan expands into it.
    Composite(usize),
    /// This controller of this object declared it.
    Controller(Uuid, String),
}

/// One object of a request.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where in the request: `objects[3].`, or nothing when it is the only one.
    pub place: String,
    pub mode: Mode,
    pub author: Author,
    pub kind: Arc<Kind>,
    pub meta: ObjectMeta,
    pub spec: Value,
}

/// What no two objects share.
pub type Key = (String, String, String);

/// What a request asks to be written, as far as it makes sense.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    pub inputs: Vec<Input>,
    /// What is wrong with the others: said together with what is found wrong with the inputs later.
    pub violations: Vec<Violation>,
    /// The others.
    pub failed: HashSet<Key>,
}

impl Input {
    pub fn key(&self) -> Key {
        (self.kind.name.clone(), self.meta.project.clone(), self.meta.name.clone())
    }
}

/// Turns a request's objects into inputs, and says all that is wrong with those that can't be one.
pub fn admit(registry: &Registry, objects: Vec<v1::Object>, mode: &Mode, author: &Author) -> Result<Admitted> {
    let (total, mut admitted, mut seen) = (objects.len(), Admitted::default(), HashSet::new());
    if total > MAX_OBJECTS {
        let much = format!("{total} objects are more than the {MAX_OBJECTS} that one request may write; split it");
        return Err(Error::invalid("objects", much));
    }
    for (index, object) in objects.into_iter().enumerate() {
        let place = if total == 1 { String::new() } else { format!("objects[{index}].") };
        let Some(kind) = registry.find(&object.kind) else {
            if total == 1 && !object.kind.is_empty() {
                return Err(Error::UnknownKind(object.kind.replace('\0', "")));
            }
            let unknown = format!("unknown kind `{}`; `tptctl kinds` lists them", object.kind.replace('\0', ""));
            admitted.violations.push(Violation::new(format!("{place}kind"), unknown));
            continue;
        };
        let input = Input {
            place,
            mode: mode.clone(),
            author: author.clone(),
            kind: Arc::clone(kind),
            meta: object.meta.unwrap_or_default(),
            spec: object.spec.map_or_else(|| Value::Object(serde_json::Map::new()), from_struct),
        };
        let violations = check(&input);
        if !seen.insert(input.key()) {
            let twice = format!("{} `{}` is named twice in this request", input.kind.name, input.meta.name);
            admitted.violations.push(Violation::new(format!("{}meta.name", input.place), twice));
        } else if violations.is_empty() {
            admitted.inputs.push(input);
        } else {
            admitted.failed.insert(input.key());
        }
        admitted.violations.extend(violations);
    }
    Ok(admitted)
}

/// What is wrong with the meta and the size of one object.
pub fn check(input: &Input) -> Vec<Violation> {
    let (place, meta, mut violations) = (format!("{}meta", input.place), &input.meta, Vec::new());
    let mut refuse = |field: &str, why: String| violations.push(Violation::new(join(&place, field), why));
    if !is_label(&meta.name) {
        refuse("name", dns_label_wanted(&meta.name));
    }
    match (input.kind.is_in_project, meta.project.as_str()) {
        (true, "") => refuse("project", "missing; name the project that it lives in".into()),
        (true, project) if !is_label(project) => refuse("project", dns_label_wanted(project)),
        (false, project) if !project.is_empty() => {
            refuse("project", format!("must be empty: a {} lives in no project", input.kind.name));
        }
        _ => {}
    }
    for project in &meta.shared_with {
        if project != "*" && !is_label(project) {
            refuse("shared_with", format!("`{}` is neither a project nor `*`", project.replace('\0', "")));
        }
    }
    if meta.shared_with.len() > MAX_ENTRIES {
        refuse("shared_with", format!("at most {MAX_ENTRIES} projects, or `*` for all"));
    }
    check_entries(&meta.labels, &join(&place, "labels"), MAX_LABEL, &mut violations);
    check_entries(&meta.annotations, &join(&place, "annotations"), MAX_ANNOTATION, &mut violations);
    check_nul(&input.spec, &format!("{}spec", input.place), &mut violations);
    let size = input.spec.to_string().len();
    if size > MAX_SPEC {
        let much = format!("{size} bytes of JSON are more than the {MAX_SPEC} that a spec may have");
        violations.push(Violation::new(format!("{}spec", input.place), much));
    }
    violations
}

fn check_entries(entries: &HashMap<String, String>, place: &str, longest: usize, violations: &mut Vec<Violation>) {
    if entries.len() > MAX_ENTRIES {
        violations.push(Violation::new(place, format!("at most {MAX_ENTRIES} entries, found {}", entries.len())));
    }
    for (key, value) in entries {
        let mut refuse = |why: String| violations.push(Violation::new(format!("{place}[{key:?}]"), why));
        if key.is_empty() || key.len() > MAX_KEY || value.len() > longest {
            refuse(format!("keys have 1 to {MAX_KEY} bytes and values at most {longest}"));
        }
        if key.contains('\0') || value.contains('\0') {
            refuse("must not contain a NUL character".into());
        }
    }
}

fn dns_label_wanted(found: &str) -> String {
    if found.is_empty() {
        return "missing; give 1 to 63 of a-z, 0-9 and -".into();
    }
    if found.chars().count() > MAX_NAME {
        let length = found.chars().count();
        return format!("is too long: {length} characters, and a name has at most {MAX_NAME}; shorten it");
    }
    format!("{found:?} is not 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let object = |kind: &str, project: &str, name: &str| v1::Object {
            kind: kind.into(),
            meta: Some(ObjectMeta { project: project.into(), name: name.into(), ..Default::default() }),
            ..Default::default()
        };
        let objects = vec![
            object("workload", "default", "Web"),
            object("gizmo", "default", "a"),
            object("project", "default", "b"),
            object("workload", "default", "c"),
            object("w", "default", "c"),
        ];
        let admitted = admit(Registry::built_in(), objects, &Mode::Apply, &Author::User).unwrap();
        assert_eq!(admitted.inputs.iter().map(|input| input.meta.name.as_str()).collect::<Vec<_>>(), ["c"]);
        let fields = admitted.violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>();
        assert_eq!(
            fields,
            ["objects[0].meta.name", "objects[1].kind", "objects[2].meta.project", "objects[4].meta.name"]
        );
    }
}
