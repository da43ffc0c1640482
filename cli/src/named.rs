//! Objects as users name them: `KIND NAME`, or `KIND/NAME` as `get -o name` prints it.

use std::sync::Arc;

use anyhow::{Result, bail};
use threeport::kind::Kind;
use threeport::registry::Registry;
use threeport::v1::ObjectReference;

use crate::error::Usage;
use crate::session::{Session, find_kind};

/// The kind, and the name if there is one.
pub fn kind_and_name(registry: &Registry, kind: &str, name: Option<&str>) -> Result<(Arc<Kind>, Option<String>)> {
    match (kind.split_once('/'), name) {
        (None, name) => Ok((find_kind(registry, kind)?, name.map(str::to_owned))),
        (Some((kind, name)), None) if !name.is_empty() => Ok((find_kind(registry, kind)?, Some(name.to_owned()))),
        _ => bail!(Usage(format!("`{kind}` names no object; write `KIND NAME` or `KIND/NAME`"))),
    }
}

/// The one object.
pub fn one(registry: &Registry, kind: &str, name: Option<&str>) -> Result<(Arc<Kind>, String)> {
    match kind_and_name(registry, kind, name)? {
        (kind, Some(name)) => Ok((kind, name)),
        (kind, None) => {
            bail!(Usage(format!("say which {0}: {0} NAME; `tptctl get {1}` lists them", kind.name, kind.plural)))
        }
    }
}

/// One kind and names, or `kind/name` each.
pub fn many(session: &Session, registry: &Registry, kind: &str, names: &[String]) -> Result<Vec<ObjectReference>> {
    let named = if kind.contains('/') {
        let words = std::iter::once(kind).chain(names.iter().map(String::as_str));
        words.map(|word| one(registry, word, None)).collect::<Result<Vec<_>>>()?
    } else if names.is_empty() {
        vec![one(registry, kind, None)?]
    } else {
        let named = names.iter().map(|name| one(registry, kind, Some(name)));
        named.collect::<Result<Vec<_>>>()?
    };
    named.into_iter().map(|(kind, name)| reference(session, &kind, name)).collect()
}

fn reference(session: &Session, kind: &Kind, name: String) -> Result<ObjectReference> {
    Ok(ObjectReference { kind: kind.name.clone(), project: session.project_of(kind)?, name, id: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_and_a_name_are_two_words_or_one() {
        let registry = Registry::built_in();
        let named =
            |kind: &str, name: Option<&str>| one(registry, kind, name).map(|(kind, name)| (kind.name.clone(), name));
        let web = ("workload".to_owned(), "web".to_owned());
        assert_eq!(named("w", Some("web")).unwrap(), web);
        assert_eq!(named("workload/web", None).unwrap(), web);
        assert_eq!(kind_and_name(registry, "w", None).unwrap().1, None);
        for (kind, name) in [("w", None), ("w/web", Some("api")), ("w/", None), ("wokload/web", None)] {
            assert_eq!(crate::error::exit_code(&named(kind, name).unwrap_err()), crate::error::USAGE, "{kind}");
        }
    }
}
