//! Path templates of google.api.http, and the tree that finds the one for a path.

use std::collections::HashMap;

use http::Method;

/// A segment of `/v1/projects/{project}/workloads`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// One segment, bound to a field of the request.
    Variable(String),
}

/// A tree of segments with `T` at the end of each template, by HTTP method.
#[derive(Debug)]
pub struct Tree<T> {
    literals: HashMap<String, Tree<T>>,
    any: Option<Box<Tree<T>>>,
    ends: Vec<(Method, Vec<String>, T)>,
}

/// What a path and method lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, T> {
    /// With the fields that the path binds.
    Route(&'a T, Vec<(&'a str, String)>),
    /// The path is known, with these methods.
    OtherMethods(Vec<&'a Method>),
    Nothing,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), any: None, ends: Vec::new() }
    }
}

impl<T> Tree<T> {
    /// Adds a template.
    ///
    /// # Errors
    /// When it is malformed, or its path and method are taken.
    pub fn insert(&mut self, method: Method, template: &str, value: T) -> Result<(), String> {
        let mut tree = self;
        let mut variables = Vec::new();
        for segment in parse(template)? {
            tree = match segment {
                Segment::Literal(literal) => tree.literals.entry(literal).or_default(),
                Segment::Variable(field) => {
                    variables.push(field);
                    tree.any.get_or_insert_default()
                }
            };
        }
        if tree.ends.iter().any(|(taken, ..)| *taken == method) {
            return Err(format!("{method} {template} is served twice"));
        }
        tree.ends.push((method, variables, value));
        Ok(())
    }

    /// Finds the template for a path; literals go before variables.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_, T> {
        let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
        let segments = path.split('/').collect::<Vec<_>>();
        let mut known = Vec::new();
        let mut bound = Vec::new();
        match self.search(method, &segments, &mut bound, &mut known) {
            Some((variables, value)) => {
                let values = bound.into_iter().map(decode);
                Found::Route(value, variables.iter().map(String::as_str).zip(values).collect())
            }
            None if known.is_empty() => Found::Nothing,
            None => Found::OtherMethods(known),
        }
    }

    fn search<'a, 'p>(
        &'a self,
        method: &Method,
        path: &[&'p str],
        bound: &mut Vec<&'p str>,
        known: &mut Vec<&'a Method>,
    ) -> Option<(&'a Vec<String>, &'a T)> {
        let Some((first, rest)) = path.split_first() else {
            known.extend(self.ends.iter().map(|(method, ..)| method));
            return self.ends.iter().find(|(own, ..)| own == method).map(|(_, variables, value)| (variables, value));
        };
        if let Some(next) = self.literals.get(*first)
            && let Some(found) = next.search(method, rest, bound, known)
        {
            return Some(found);
        }
        let next = self.any.as_ref().filter(|_| !first.is_empty())?;
        bound.push(first);
        let found = next.search(method, rest, bound, known);
        if found.is_none() {
            bound.pop();
        }
        found
    }
}

fn parse(template: &str) -> Result<Vec<Segment>, String> {
    let path = template.strip_prefix('/').ok_or_else(|| format!("`{template}` must begin with /"))?;
    let segments = path.split('/').map(|segment| match segment.strip_prefix('{').map(|rest| rest.strip_suffix('}')) {
        Some(Some(field)) if !field.contains(['{', '}', '=', '*']) => Ok(Segment::Variable(field.to_owned())),
        None if !segment.is_empty() && !segment.contains(['{', '}', '*', ':']) => {
            Ok(Segment::Literal(segment.to_owned()))
        }
        _ => Err(format!("`{template}`: `{segment}` must be a word or a {{field}}")),
    });
    segments.collect()
}

/// Undoes percent-encoding; what is malformed stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree<u8> {
        let mut tree = Tree::default();
        tree.insert(Method::GET, "/v1/projects/{name}", 1).unwrap();
        tree.insert(Method::GET, "/v1/projects/{project}/workloads", 2).unwrap();
        tree.insert(Method::GET, "/v1/objects/{kind}/{name}", 3).unwrap();
        tree.insert(Method::PUT, "/v1/projects/{project}/workloads/{object.name}", 4).unwrap();
        tree
    }

    #[test]
    fn paths_find_their_template() {
        let tree = tree();
        let get = |path: &str| match tree.find(&Method::GET, path) {
            Found::Route(number, bound) => (*number, bound.into_iter().map(|(k, v)| format!("{k}={v}")).collect()),
            _ => (0, Vec::new()),
        };
        assert_eq!(get("/v1/projects/a%20b"), (1, vec!["name=a b".to_owned()]));
        assert_eq!(get("/v1/projects/a/workloads"), (2, vec!["project=a".to_owned()]));
        assert_eq!(get("/v1/objects/workload/w"), (3, vec!["kind=workload".to_owned(), "name=w".to_owned()]));
        assert_eq!(get("/v1/projects/"), (0, Vec::new()));
        assert_eq!(get("/v1/projects/a/"), (0, Vec::new()));
        assert_eq!(get(""), (0, Vec::new()));
    }

    #[test]
    fn a_known_path_tells_its_methods() {
        let tree = tree();
        assert_eq!(tree.find(&Method::POST, "/v1/projects/a/workloads/w"), Found::OtherMethods(vec![&Method::PUT]));
        assert_eq!(tree.find(&Method::POST, "/v2"), Found::Nothing);
    }

    #[test]
    fn malformed_escapes_stay() {
        assert_eq!(decode("a%2Fb%zz%+1%2"), "a/b%zz%+1%2");
        assert_eq!(decode("%ff%E2%82%AC"), "\u{fffd}€");
    }

    #[test]
    fn templates_are_refused_unless_served() {
        let mut tree = tree();
        assert!(tree.insert(Method::GET, "/v1/projects/{other}", 5).is_err());
        assert!(tree.insert(Method::GET, "/v1/{name=projects/*}", 5).is_err());
        assert!(tree.insert(Method::GET, "/v1/projects/{name}:redeploy", 5).is_err());
        assert!(tree.insert(Method::GET, "v1", 5).is_err());
    }
}
