//! Contexts: which server to talk to, as whom and in which project, kept in a file that only its owner can read.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// One server as one caller.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub name: String,
    /// `http://127.0.0.1:8080`.
    pub server: String,
    /// The bearer token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// The project of commands that name none.
    #[serde(default = "default_project")]
    pub project: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("name", &self.name)
            .field("server", &self.server)
            .field("token", &"(sensitive)")
            .field("project", &self.project)
            .finish()
    }
}

fn default_project() -> String {
    "default".to_owned()
}

/// The contexts file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The name of the context in use; empty for none.
    #[serde(default)]
    pub current: String,
    #[serde(default)]
    pub contexts: Vec<Context>,
}

impl Contexts {
    /// `$THREEPORT_CONFIG`, else `threeport/config.yaml` below `$XDG_CONFIG_HOME` or `~/.config`.
    pub fn path() -> Result<PathBuf, Error> {
        path_from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads the file; an absent one has no contexts.
    ///
    /// # Errors
    /// When others than its owner may read it, or it can't be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            metadata => metadata.map_err(|error| unusable(path, &error))?,
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(Error::Configuration(format!(
                "`{path}` holds tokens but others may read it (mode {mode:o}); run: chmod 600 {path}"
            )));
        }
        let text = fs::read_to_string(path).map_err(|error| unusable(path, &error))?;
        serde_saphyr::from_str(&text)
            .map_err(|error| Error::Configuration(format!("`{}` is no contexts file: {error}", path.display())))
    }

    /// Writes the file whole or not at all, readable by its owner alone.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_saphyr::to_string(self)
            .map_err(|error| Error::Configuration(format!("contexts can't be written: {error}")))?;
        write_private(path, text.as_bytes()).map_err(|error| unusable(path, &error))
    }

    pub fn get(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|context| context.name == name)
    }

    /// Adds the context, or replaces the one of its name.
    pub fn put(&mut self, context: Context) {
        match self.contexts.iter_mut().find(|known| known.name == context.name) {
            Some(known) => *known = context,
            None => self.contexts.push(context),
        }
    }

    /// Removes the context; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.contexts.len();
        self.contexts.retain(|context| context.name != name);
        if self.current == name {
            self.current.clear();
        }
        self.contexts.len() < before
    }

    /// The context to use: `name`, else the current one; `THREEPORT_SERVER`, `THREEPORT_TOKEN` and `THREEPORT_PROJECT`
    /// stand in for its parts, and a server in the environment needs no context at all.
    pub fn resolve(&self, name: Option<&str>) -> Result<Context, Error> {
        self.resolve_with(name, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn resolve_with(&self, name: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<Context, Error> {
        let server = env("THREEPORT_SERVER");
        let wanted = name.unwrap_or(&self.current);
        let mut context = match self.get(wanted) {
            Some(context) => context.clone(),
            None if name.is_none() && server.is_some() => {
                Context { name: String::new(), project: default_project(), ..Context::default() }
            }
            None if wanted.is_empty() => {
                let advice = match self.contexts.as_slice() {
                    [] => "run `tptctl up`, or set THREEPORT_SERVER and THREEPORT_TOKEN".to_owned(),
                    known => {
                        let names = known.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
                        format!("choose one with `tptctl context use NAME`; there are: {names}")
                    }
                };
                return Err(Error::Configuration(format!("no context is chosen; {advice}")));
            }
            None => {
                let known = self.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "there are none".into() } else { format!("there are: {known}") };
                return Err(Error::Configuration(format!("no context `{wanted}`; {known}")));
            }
        };
        if let Some(server) = server {
            // A stored token is for the stored server alone.
            if server != context.server {
                context.token.clear();
            }
            context.server = server;
        }
        context.token = env("THREEPORT_TOKEN").unwrap_or(context.token);
        context.project = env("THREEPORT_PROJECT").unwrap_or(context.project);
        Ok(context)
    }
}

fn path_from(env: impl Fn(&str) -> Option<String>) -> Result<PathBuf, Error> {
    if let Some(path) = env("THREEPORT_CONFIG") {
        return Ok(path.into());
    }
    let base = env("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| Path::new(&home).join(".config")))
        .ok_or_else(|| Error::Configuration("no home directory; set THREEPORT_CONFIG".into()))?;
    Ok(base.join("threeport/config.yaml"))
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Configuration(format!("`{}` can't be used: {error}", path.display()))
}

/// Replaces a file in one step; it is never readable by others, nor half written.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".config-{}", uuid::Uuid::new_v4()));
    let written =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let local = Context {
            name: "local".into(),
            server: "http://127.0.0.1:8080".into(),
            token: "hidden".into(),
            project: "default".into(),
        };
        Contexts { current: "local".into(), contexts: vec![local] }
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_saved_file_is_its_owners_alone_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/config.yaml");
        contexts().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Contexts::load(&path).unwrap(), contexts());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        contexts().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = Contexts::load(&path).unwrap_err().to_string();
        assert!(message.ends_with(&format!("(mode 644); run: chmod 600 {}", path.display())), "{message}");
    }

    #[test]
    fn an_absent_file_has_no_contexts_and_says_what_to_do() {
        let contexts = Contexts::load(Path::new("/nonexistent/config.yaml")).unwrap();
        let message = contexts.resolve_with(None, no_env).unwrap_err().to_string();
        assert!(message.contains("tptctl up"), "{message}");
    }

    #[test]
    fn the_environment_comes_first_and_never_sends_a_token_elsewhere() {
        let env = |name: &str| (name == "THREEPORT_SERVER").then(|| "http://other:1".to_owned());
        let context = contexts().resolve_with(None, env).unwrap();
        assert_eq!((context.server.as_str(), context.token.as_str()), ("http://other:1", ""));
        let env = |name: &str| (name == "THREEPORT_PROJECT").then(|| "shop".to_owned());
        let context = contexts().resolve_with(Some("local"), env).unwrap();
        assert_eq!((context.project.as_str(), context.token.as_str()), ("shop", "hidden"));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = contexts().resolve_with(Some("prod"), no_env).unwrap_err().to_string();
        assert_eq!(message, "no context `prod`; there are: local");
    }

    #[test]
    fn the_path_follows_the_environment() {
        let env = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        assert_eq!(path_from(env).unwrap(), Path::new("/home/me/.config/threeport/config.yaml"));
    }
}
