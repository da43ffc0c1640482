//! From YAML documents to objects, with every mistake at its place.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use threeport::json::{self, Violation, dynamic_to_json, to_struct};
use threeport::kind::Kind;
use threeport::registry::Registry;
use threeport::render::yaml;
use threeport::spelling::closest;
use threeport::v1::{Object, ObjectMeta};

use super::node::{Node, Place, Places, place};
use super::{Document, Problem, VERSION, config, file_reference};
use crate::Error;

const KEYS: [&str; 8] = ["version", "kind", "project", "name", "labels", "annotations", "shared_with", "spec"];
/// The largest text taken.
const LIMIT: u64 = 16 * 1024 * 1024;

/// What is wrong with a document, and where.
type Mistakes = Vec<(Place, String)>;

/// Reads documents, knowing the kinds that there are.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    registry: &'a Registry,
    default_project: &'a str,
}

impl<'a> Reader<'a> {
    /// `default_project` is that of documents which name none.
    pub fn new(registry: &'a Registry, default_project: &'a str) -> Self {
        Self { registry, default_project }
    }

    /// Reads all documents of all files, in order; `-` is stdin, a directory stands for its `.yaml` and `.yml` files.
    ///
    /// # Errors
    /// [`Error::Documents`] with every problem of every file.
    pub fn read_files(&self, files: &[PathBuf]) -> Result<Vec<Document>, Error> {
        let (mut documents, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match self.read_path(file) {
                Ok(mut read) => documents.append(&mut read),
                Err(mut found) => problems.append(&mut found),
            }
        }
        if problems.is_empty() { Ok(documents) } else { Err(Error::Documents(problems)) }
    }

    /// Reads all documents of a text; `file` is its name in messages, `base` the directory of `{file: path}`.
    ///
    /// # Errors
    /// [`Error::Documents`] with every problem.
    pub fn read_text(&self, file: &str, text: &str, base: &Path) -> Result<Vec<Document>, Error> {
        self.read_all(file, text, base).map_err(Error::Documents)
    }

    fn read_path(&self, path: &Path) -> Result<Vec<Document>, Vec<Problem>> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| vec![problem(&name, (0, 0), format!("can't be read: {error}"))];
        if path == Path::new("-") {
            let text = read_limited(std::io::stdin().lock()).map_err(unreadable)?;
            return self.read_all("-", &text, Path::new("."));
        }
        if path.is_dir() {
            return self.read_directory(path).map_err(unreadable)?;
        }
        let text = std::fs::File::open(path).and_then(read_limited).map_err(unreadable)?;
        self.read_all(&name, &text, path.parent().unwrap_or(Path::new(".")))
    }

    fn read_directory(&self, path: &Path) -> std::io::Result<Result<Vec<Document>, Vec<Problem>>> {
        let entries = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        let mut files = entries.collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml") && file.is_file());
        files.sort();
        Ok(match self.read_files(&files) {
            Err(Error::Documents(problems)) => Err(problems),
            Ok(documents) if !documents.is_empty() => Ok(documents),
            _ => Err(vec![problem(&path.display().to_string(), (0, 0), "has no .yaml file with a document".into())]),
        })
    }

    fn read_all(&self, file: &str, text: &str, base: &Path) -> Result<Vec<Document>, Vec<Problem>> {
        let nodes = Node::parse_all(text).map_err(|error| {
            let place = error.location().map_or((0, 0), |location| (location.line(), location.column()));
            vec![problem(file, place, yaml::told(&error))]
        })?;
        let (mut documents, mut problems) = (Vec::new(), Vec::new());
        for node in nodes {
            match self.read_document(node, base) {
                Ok(read) => documents.extend(read.into_iter().map(|(object, places)| Document {
                    object,
                    file: file.to_owned(),
                    places,
                })),
                Err(found) => problems.extend(found.into_iter().map(|(place, text)| problem(file, place, text))),
            }
        }
        if problems.is_empty() { Ok(documents) } else { Err(problems) }
    }

    /// The objects of a document: one of the native form, one or several of the config format.
    fn read_document(&self, document: Spanned<Node>, base: &Path) -> Result<Vec<(Object, Places)>, Mistakes> {
        let mut places = Places::new(place(&document));
        let json = document.value.into_json("", &mut places);
        let Value::Object(fields) = json else {
            return Err(vec![(places.start(), "expected a document with version, kind, name and spec".into())]);
        };
        if !config::is_config(&fields) {
            return Ok(vec![self.read_native(&fields, places, base)?]);
        }
        let translated = config::translate(&fields, &places);
        let translated = translated.map_err(|wrong| wrong.iter().map(|v| told(v, &places)).collect::<Vec<_>>())?;
        translated.into_iter().map(|native| self.read_native(&native.fields, native.places, base)).collect()
    }

    fn read_native(
        &self,
        fields: &Map<String, Value>,
        places: Places,
        base: &Path,
    ) -> Result<(Object, Places), Mistakes> {
        let mut wrong = Vec::new();
        let kind = self.kind(fields, &mut wrong);
        check_keys(fields, &mut wrong);
        let meta = kind.and_then(|kind| self.meta(kind, fields, &mut wrong));
        let spec = kind.and_then(|kind| spec(kind, fields, base, &mut wrong));
        match (kind, meta) {
            (Some(kind), Some(meta)) if wrong.is_empty() => {
                let spec = spec.map(to_struct);
                Ok((Object { kind: kind.name.clone(), meta: Some(meta), spec, status: None }, places))
            }
            _ => Err(wrong.into_iter().map(|violation| told(&violation, &places)).collect()),
        }
    }

    fn kind(&self, fields: &Map<String, Value>, wrong: &mut Vec<Violation>) -> Option<&'a Kind> {
        let Some(name) = fields.get("kind").and_then(Value::as_str) else {
            wrong.push(Violation::new("kind", "is required: a kind such as `workload`"));
            return None;
        };
        let found = self.registry.get(name);
        if found.is_none() {
            let known = self.registry.kinds().map(|kind| kind.name.clone()).collect::<Vec<_>>();
            let alias = self.registry.find(name).map(|kind| kind.name.as_str());
            wrong.push(Violation::new(
                "kind",
                match alias.or_else(|| closest(&name.to_lowercase(), &known)) {
                    Some(near) => format!("unknown kind `{name}`; did you mean `{near}`?"),
                    None => format!("unknown kind `{name}`; there are {}", known.join(", ")),
                },
            ));
        }
        found.map(AsRef::as_ref)
    }

    fn meta(&self, kind: &Kind, fields: &Map<String, Value>, wrong: &mut Vec<Violation>) -> Option<ObjectMeta> {
        let mut meta = Map::new();
        for key in ["project", "name", "labels", "annotations", "shared_with"] {
            if let Some(value) = fields.get(key) {
                meta.insert(key.to_owned(), value.clone());
            }
        }
        if meta.get("name").is_none_or(|name| name.is_null() || name == "") {
            wrong.push(Violation::new("name", "is required"));
        }
        match (kind.is_in_project, meta.get("project").is_some_and(|project| !project.is_null())) {
            (true, false) => {
                meta.insert("project".into(), self.default_project.into());
            }
            (false, true) => {
                wrong.push(Violation::new("project", format!("must not be set: a {} is in no project", kind.name)));
            }
            _ => {}
        }
        match json::parse_document(&json::descriptor::<ObjectMeta>(), &Value::Object(meta), "") {
            Ok(message) => message.transcode_to().ok(),
            Err(violations) => {
                wrong.extend(violations);
                None
            }
        }
    }
}

fn check_keys(fields: &Map<String, Value>, wrong: &mut Vec<Violation>) {
    if let Some(version) = fields.get("apiVersion").and_then(Value::as_str) {
        if version.contains("threeport") {
            let advice =
                "Threeport documents have `version: v1` and no `metadata`: `name` and `labels` stand beside `kind`";
            wrong.push(Violation::new("apiVersion", advice));
            return;
        }
        let advice = "this is a Kubernetes manifest; put it into `spec.manifest` of a workload";
        wrong.push(Violation::new("apiVersion", advice));
        return;
    }
    match fields.get("version") {
        Some(version) if version == VERSION => {}
        Some(_) => wrong.push(Violation::new("version", format!("must be `{VERSION}`"))),
        None => wrong.push(Violation::new("version", format!("is required: `version: {VERSION}`"))),
    }
    let known = KEYS.map(str::to_owned);
    for key in fields.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let advice = match closest(key, &known) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None => format!("unknown key; a document has {}", KEYS.join(", ")),
        };
        wrong.push(Violation::new(key, advice));
    }
}

/// The spec in canonical JSON; none for a kind without one, or after a violation.
fn spec(kind: &Kind, fields: &Map<String, Value>, base: &Path, wrong: &mut Vec<Violation>) -> Option<Value> {
    let given = fields.get("spec").filter(|spec| !spec.is_null());
    let Some(descriptor) = kind.spec() else {
        if given.is_some() {
            wrong.push(Violation::new("spec", format!("a {} has no spec", kind.name)));
        }
        return None;
    };
    let mut spec = given.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let before = wrong.len();
    file_reference::resolve(&descriptor, &mut spec, "spec", base, wrong);
    if wrong.len() > before {
        return None;
    }
    match json::parse_document(&descriptor, &spec, "spec") {
        Ok(message) => Some(dynamic_to_json(&message)),
        Err(violations) => {
            wrong.extend(violations);
            None
        }
    }
}

fn told(violation: &Violation, places: &Places) -> (Place, String) {
    (places.find(&violation.field), violation.to_string())
}

fn problem(file: &str, (line, column): Place, message: String) -> Problem {
    Problem { file: file.to_owned(), line, column, message }
}

fn read_limited(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(std::io::Error::other("larger than 16 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
