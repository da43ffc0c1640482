//! A YAML value that remembers where each of its parts stands.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use threeport::json::join;

/// Line and column, both counted from 1.
pub type Place = (u64, u64);

#[derive(Clone, Debug)]
pub enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    /// In the order of the document.
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl Node {
    /// All documents of a text. Keys that come twice, bare words that look like booleans and alias bombs are refused.
    pub fn parse_all(text: &str) -> Result<Vec<Spanned<Node>>, serde_saphyr::Error> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            legacy_octal_numbers: false,
            with_snippet: false,
        };
        serde_saphyr::from_multiple_with_options(text, options)
    }

    /// The value, noting every part's place by its path below `path`.
    pub fn into_json(self, path: &str, places: &mut Places) -> Value {
        match self {
            Node::Scalar(value) => value,
            Node::List(items) => {
                let item = |(index, item): (usize, Spanned<Node>)| {
                    let path = format!("{path}[{index}]");
                    places.note(&path, place(&item));
                    item.value.into_json(&path, places)
                };
                Value::Array(items.into_iter().enumerate().map(item).collect())
            }
            Node::Map(entries) => {
                let mut fields = Map::new();
                for (key, value) in entries {
                    let path = join(path, &key.value);
                    places.note(&path, place(&key));
                    fields.insert(key.value, value.value.into_json(&path, places));
                }
                Value::Object(fields)
            }
        }
    }
}

/// Where the parts of a document stand, by path.
#[derive(Clone, Debug, Default)]
pub struct Places {
    known: HashMap<String, Place>,
    /// Where the document begins.
    start: Place,
}

impl Places {
    pub fn new(start: Place) -> Self {
        Self { known: HashMap::new(), start }
    }

    pub fn start(&self) -> Place {
        self.start
    }

    /// The place of the path, or of the nearest part around it.
    pub fn find(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.known.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.start,
            }
        }
    }

    pub fn note(&mut self, path: &str, place: Place) {
        self.known.insert(path.to_owned(), place);
    }
}

/// Where a value is used; an alias stands where it is written, not where its anchor is.
pub fn place<T>(spanned: &Spanned<T>) -> Place {
    (spanned.referenced.line(), spanned.referenced.column())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_knows_its_place() {
        let mut documents = Node::parse_all("a: 1\nlist:\n  - x\n  - y: [true]\n---\nb: ~\n").unwrap();
        let second = documents.pop().unwrap();
        assert_eq!(place(&second).0, 6);
        let first = documents.pop().unwrap();
        let mut places = Places::new(place(&first));
        let json = first.value.into_json("", &mut places);
        assert_eq!(json, json!({ "a": 1, "list": ["x", { "y": [true] }] }));
        assert_eq!(places.find("list[1].y"), (4, 5));
        assert_eq!(places.find("list[1].y[7].z"), (4, 5));
        assert_eq!(places.find("nothing"), (1, 1));
    }

    #[test]
    fn a_key_that_comes_twice_is_refused() {
        let error = Node::parse_all("a: 1\na: 2\n").unwrap_err();
        assert_eq!(error.location().map(|location| location.line()), Some(2));
    }

    #[test]
    fn words_are_not_booleans() {
        let documents = Node::parse_all("a: yes\nb: 010\n").unwrap();
        let json = documents[0].value.clone().into_json("", &mut Places::default());
        assert_eq!(json["a"], json!("yes"));
    }
}
