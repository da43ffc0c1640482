//! Filters of watches: comparisons over name, labels and owner joined by AND, after AIP-160. Only what the log holds from
//! before and after a change can be filtered by, so that a resumed watch sees what enters and leaves.

use serde_json::Value;
use threeport::v1::ObjectReference;

use super::commit::Facts;
use crate::error::Result;
use crate::store::filter::{self, Operator, invalid};

/// All of its comparisons must hold; an empty one lets everything pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Comparison>);

#[derive(Debug, PartialEq, Eq)]
struct Comparison {
    field: Field,
    is: Wanted,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Label(String),
    OwnerKind,
    OwnerName,
    OwnerId,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Equal(String),
    Unequal(String),
    /// There at all.
    Present,
}

impl Filter {
    /// Reads a filter, in the language of lists.
    pub fn parse(text: &str) -> Result<Self> {
        let terms = match filter::Filter::parse(text)? {
            filter::Filter::All(terms) => terms,
            one => vec![one],
        };
        terms.into_iter().map(comparison).collect::<Result<_>>().map(Self)
    }

    pub fn passes(&self, facts: &Facts) -> bool {
        self.0.iter().all(|comparison| {
            let found = comparison.field.of(facts);
            match &comparison.is {
                Wanted::Equal(value) => found == Some(value),
                Wanted::Unequal(value) => found != Some(value),
                Wanted::Present => found.is_some(),
            }
        })
    }
}

fn comparison(term: filter::Filter) -> Result<Comparison> {
    let filter::Filter::Comparison { field, operator, value } = term else {
        return Err(invalid("a watch's comparisons are joined by AND alone; filter the rest of what it tells"));
    };
    let is = match operator {
        Operator::Has if value == "*" => Wanted::Present,
        Operator::Equal | Operator::Has => Wanted::Equal(value),
        Operator::Unequal => Wanted::Unequal(value),
        _ => return Err(invalid("a watch compares by =, != and :, since names and labels have no order")),
    };
    Ok(Comparison { field: field_of(&field)?, is })
}

impl Field {
    fn of<'a>(&self, facts: &'a Facts) -> Option<&'a str> {
        let owner = |part: fn(&ObjectReference) -> &str| facts.owner.as_ref().map(part);
        match self {
            Field::Name => Some(&facts.name),
            Field::Label(key) => facts.labels.get(key).and_then(Value::as_str),
            Field::OwnerKind => owner(|owner| &owner.kind),
            Field::OwnerName => owner(|owner| &owner.name),
            Field::OwnerId => owner(|owner| &owner.id),
        }
    }
}

fn field_of(segments: &[String]) -> Result<Field> {
    let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
    let segments = segments.strip_prefix(&["meta"]).unwrap_or(&segments);
    match segments {
        ["name"] => Ok(Field::Name),
        ["owner", "kind"] => Ok(Field::OwnerKind),
        ["owner", "name"] => Ok(Field::OwnerName),
        ["owner", "id"] => Ok(Field::OwnerId),
        // Keys such as `example.com/team` may come without quotes.
        ["labels", key @ ..] if !key.is_empty() => Ok(Field::Label(key.join("."))),
        other => Err(invalid(format!(
            "a watch can't filter by `{}`; use name, labels.KEY, owner.kind, owner.name or owner.id",
            other.join(".")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passes(filter: &str) -> bool {
        let owner = ObjectReference { kind: "workload".into(), name: "web".into(), ..Default::default() };
        let labels = json!({ "tier": "dev", "example.com/team": "a b" });
        Filter::parse(filter).unwrap().passes(&Facts { name: "web-1".into(), labels, owner: Some(owner) })
    }

    #[test]
    fn comparisons_are_joined_by_and() {
        assert!(passes(""));
        assert!(passes("labels.tier = dev AND owner.kind = \"workload\""));
        assert!(passes("meta.labels.example.com/team = \"a b\" AND labels.tier:*"));
        assert!(passes("labels.\"example.com/team\":\"a b\" AND labels.none != x"));
        assert!(passes("labels[\"example.com/team\"] = \"a b\" name = web-1"));
        assert!(!passes("labels.tier=prod"));
        assert!(!passes("labels.none:*"));
        assert!(!passes("name != web-1"));
    }

    #[test]
    fn what_the_log_does_not_hold_is_refused() {
        for filter in [
            "status.health = Healthy",
            "name",
            "name = a OR name = b",
            "NOT name = a",
            "name > a",
            "name = a AND",
            "name = \"a",
            "labels.",
            "name ? a",
        ] {
            assert_eq!(Filter::parse(filter).unwrap_err().reason(), "Invalid", "{filter}");
        }
    }
}
