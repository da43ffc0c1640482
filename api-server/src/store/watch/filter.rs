//! Filters of watches: comparisons over name, labels and owner joined by AND, after AIP-160. Only what the log holds from
//! before and after a change can be filtered by, so that a resumed watch sees what enters and leaves.

use serde_json::Value;
use threeport::v1::ObjectReference;

use super::commit::Facts;
use crate::error::{Error, Result};

/// All of its comparisons must hold; an empty one lets everything pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Comparison>);

#[derive(Debug, PartialEq, Eq)]
struct Comparison {
    field: Field,
    operator: Operator,
    value: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Label(String),
    OwnerKind,
    OwnerName,
    OwnerId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    /// The field is there, with this value unless it is `*`.
    Has,
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let mut comparisons = Vec::new();
        while !rest.is_empty() {
            let [Token::Word(field), Token::Operator(operator), Token::Word(value), ..] = rest else {
                return Err(invalid("expected comparisons such as `labels.tier = \"dev\"` joined by AND"));
            };
            comparisons.push(Comparison { field: field_of(field)?, operator: *operator, value: value.clone() });
            rest = &rest[3..];
            match rest {
                [] => {}
                [Token::Word(and), next @ ..] if and == "AND" && !next.is_empty() => rest = next,
                _ => return Err(invalid("join comparisons by AND")),
            }
        }
        Ok(Self(comparisons))
    }

    pub fn passes(&self, facts: &Facts) -> bool {
        self.0.iter().all(|comparison| {
            let found = comparison.field.of(facts);
            match comparison.operator {
                Operator::Equal => found == Some(comparison.value.as_str()),
                Operator::Unequal => found != Some(comparison.value.as_str()),
                Operator::Has => found.is_some_and(|found| comparison.value == "*" || comparison.value == found),
            }
        })
    }
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

fn field_of(text: &str) -> Result<Field> {
    let text = text.strip_prefix("meta.").unwrap_or(text);
    match text {
        "name" => Ok(Field::Name),
        "owner.kind" => Ok(Field::OwnerKind),
        "owner.name" => Ok(Field::OwnerName),
        "owner.id" => Ok(Field::OwnerId),
        _ => match text.strip_prefix("labels.").filter(|key| !key.is_empty()) {
            Some(key) => Ok(Field::Label(key.to_owned())),
            None => Err(invalid(&format!(
                "a watch can't filter by `{text}`; use name, labels.KEY, owner.kind, owner.name or owner.id"
            ))),
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Operator(Operator),
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_whitespace() => {}
            '=' => tokens.push(Token::Operator(Operator::Equal)),
            ':' => tokens.push(Token::Operator(Operator::Has)),
            '!' if characters.next_if_eq(&'=').is_some() => tokens.push(Token::Operator(Operator::Unequal)),
            '"' => tokens.push(Token::Word(quoted(&mut characters)?)),
            _ if is_bare(character) => {
                let mut word = String::from(character);
                while let Some(next) = characters.next_if(|next| is_bare(*next) || *next == '"') {
                    // A label's key may hold what a bare word may not: `labels."a/b"`.
                    if next == '"' { word.push_str(&quoted(&mut characters)?) } else { word.push(next) }
                }
                tokens.push(Token::Word(word));
            }
            other => return Err(invalid(&format!("unexpected `{other}`"))),
        }
    }
    Ok(tokens)
}

fn is_bare(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '-' | '_' | '/' | '*')
}

/// The rest of a quoted string, whose opening quote was taken.
fn quoted(characters: &mut impl Iterator<Item = char>) -> Result<String> {
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok(text),
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    Err(invalid("a quote is not closed"))
}

fn invalid(description: &str) -> Error {
    Error::invalid("filter", description)
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
            "name = a AND",
            "name = \"a",
            "labels.",
            "name ? a",
        ] {
            assert_eq!(Filter::parse(filter).unwrap_err().reason(), "Invalid", "{filter}");
        }
    }
}
