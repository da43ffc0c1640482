//! Puts the parts that a watch sends together to whole objects, and drops what is already known.

use std::collections::HashMap;

use threeport::v1::{Object, ObjectMeta, WatchEvent};

/// The objects that a watch has seen, by id.
#[derive(Debug, Default)]
pub struct Merger {
    objects: HashMap<String, Object>,
    /// Whether `objects` began as a whole list, so that an unknown object is one that is gone.
    is_complete: bool,
}

/// What an event comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Merged {
    /// The object as it is now, whole.
    Written(Object),
    /// The object as last known.
    Removed(Object),
    /// Nothing new.
    Known,
    /// A part of an object that was never seen whole.
    Incomplete(Object),
}

impl Merger {
    /// Begins again with a whole list.
    pub fn replace(&mut self, objects: &[Object]) {
        self.is_complete = true;
        self.objects = objects.iter().map(|object| (id(object).to_owned(), object.clone())).collect();
    }

    /// Whether a list was ever taken in.
    pub fn is_begun(&self) -> bool {
        self.is_complete
    }

    /// Takes in an object that was read whole.
    pub fn insert(&mut self, object: Object) {
        self.objects.insert(id(&object).to_owned(), object);
    }

    pub fn merge(&mut self, event: WatchEvent) -> Merged {
        let Some(part) = event.object else { return Merged::Known };
        match event.r#type.as_str() {
            "removed" | "left" => match self.objects.remove(id(&part)) {
                Some(known) => Merged::Removed(known),
                None if self.is_complete => Merged::Known,
                None => Merged::Removed(part),
            },
            "created" | "entered" => self.whole(part),
            kind => self.part(kind, part),
        }
    }

    fn whole(&mut self, object: Object) -> Merged {
        if self.objects.get(id(&object)).is_some_and(|known| version(known) >= version(&object)) {
            return Merged::Known;
        }
        self.insert(object.clone());
        Merged::Written(object)
    }

    fn part(&mut self, kind: &str, part: Object) -> Merged {
        let Some(known) = self.objects.get_mut(id(&part)) else { return Merged::Incomplete(part) };
        let ((revision, status_revision), (new, new_status)) = (version(known), version(&part));
        let is_known = if kind == "status" { new_status <= status_revision } else { new <= revision };
        if is_known {
            return Merged::Known;
        }
        match kind {
            "status" => known.status = part.status,
            "spec" => known.spec = part.spec,
            // `meta` and `deleting`; what a newer server may send besides is in its meta too.
            _ => {}
        }
        known.meta = part.meta;
        Merged::Written(known.clone())
    }
}

fn id(object: &Object) -> &str {
    object.meta.as_ref().map_or("", |meta: &ObjectMeta| &meta.id)
}

fn version(object: &Object) -> (i64, i64) {
    object.meta.as_ref().map_or((0, 0), |meta| (meta.revision, meta.status_revision))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::to_struct;

    use super::*;

    fn object(id: &str, revision: i64, status_revision: i64) -> Object {
        let meta = ObjectMeta { id: id.into(), revision, status_revision, ..Default::default() };
        Object { kind: "widget".into(), meta: Some(meta), spec: None, status: None }
    }

    fn event(r#type: &str, object: Object) -> WatchEvent {
        WatchEvent { r#type: r#type.into(), object: Some(object) }
    }

    fn with_status(mut object: Object, health: &str) -> Object {
        object.status = Some(to_struct(json!({ "health": health })));
        object
    }

    fn with_spec(mut object: Object, size: i64) -> Object {
        object.spec = Some(to_struct(json!({ "size": size })));
        object
    }

    #[test]
    fn parts_come_together() {
        let mut merger = Merger::default();
        let created = with_spec(object("a", 1, 0), 1);
        assert_eq!(merger.merge(event("created", created.clone())), Merged::Written(created));
        let Merged::Written(seen) = merger.merge(event("status", with_status(object("a", 1, 1), "Healthy"))) else {
            panic!("a status is news")
        };
        assert_eq!(seen, with_status(with_spec(object("a", 1, 1), 1), "Healthy"));
        let Merged::Written(seen) = merger.merge(event("spec", with_spec(object("a", 2, 1), 2))) else {
            panic!("a spec is news")
        };
        assert_eq!(seen, with_status(with_spec(object("a", 2, 1), 2), "Healthy"));
    }

    #[test]
    fn what_the_list_showed_is_dropped() {
        let mut merger = Merger::default();
        merger.replace(&[object("a", 3, 2)]);
        assert_eq!(merger.merge(event("spec", object("a", 3, 0))), Merged::Known);
        assert_eq!(merger.merge(event("status", object("a", 3, 2))), Merged::Known);
        assert_eq!(merger.merge(event("created", object("a", 1, 0))), Merged::Known);
        assert_eq!(merger.merge(event("removed", object("b", 1, 0))), Merged::Known);
        assert!(matches!(merger.merge(event("meta", object("a", 4, 2))), Merged::Written(_)));
    }

    #[test]
    fn a_part_of_the_unseen_is_told() {
        let mut merger = Merger::default();
        assert!(matches!(merger.merge(event("status", object("a", 1, 1))), Merged::Incomplete(_)));
        merger.insert(object("a", 1, 1));
        assert_eq!(merger.merge(event("left", object("a", 1, 1))), Merged::Removed(object("a", 1, 1)));
    }
}
