//! Filters as SQL: every name and value of the filter's text becomes a bound parameter.

use std::fmt::Write;
use std::time::SystemTime;

use serde_json::Value;
use threeport::codec::TIMES;
use threeport::kind::{Kind, Step};
use tokio_postgres::types::ToSql;

use super::filter::{Filter, Operator, invalid};
use crate::error::Result;

/// A WHERE condition in the making, over `objects o` and its owner `p`.
#[derive(Default)]
pub struct Condition {
    pub sql: String,
    pub params: Vec<Box<dyn ToSql + Sync + Send>>,
}

/// What a field of a filter stands for.
enum Field {
    /// An SQL text.
    Text(String),
    /// An SQL timestamp.
    Time(&'static str),
    /// An SQL jsonb.
    Json(String),
}

impl Condition {
    /// The parameter's place in the statement.
    pub fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.params.push(Box::new(value));
        format!("${}", self.params.len())
    }

    /// Adds what a filter demands.
    pub fn filter(&mut self, kind: &Kind, filter: &Filter) -> Result<()> {
        let sql = self.expression(kind, filter)?;
        let _ = write!(self.sql, " AND {sql}");
        Ok(())
    }

    fn expression(&mut self, kind: &Kind, filter: &Filter) -> Result<String> {
        Ok(match filter {
            Filter::All(terms) if terms.is_empty() => "true".into(),
            Filter::All(terms) => format!("({})", self.joined(kind, terms, " AND ")?),
            Filter::Any(terms) => format!("({})", self.joined(kind, terms, " OR ")?),
            Filter::Not(term) => format!("(({}) IS NOT TRUE)", self.expression(kind, term)?),
            Filter::Comparison { field, operator, value } => self.comparison(kind, field, *operator, value)?,
        })
    }

    fn joined(&mut self, kind: &Kind, terms: &[Filter], word: &str) -> Result<String> {
        let terms = terms.iter().map(|term| self.expression(kind, term)).collect::<Result<Vec<_>>>()?;
        Ok(terms.join(word))
    }

    fn comparison(&mut self, kind: &Kind, path: &[String], operator: Operator, value: &str) -> Result<String> {
        match self.field(kind, path)? {
            Field::Text(sql) => Ok(self.text(&sql, operator, value)),
            Field::Json(sql) => Ok(self.json(&sql, operator, value)),
            Field::Time(column) => {
                let sign =
                    sign(operator).ok_or_else(|| invalid(format!("`:` does not go with `{}`", path.join("."))))?;
                let time = time(value)
                    .ok_or_else(|| invalid(format!("`{value}` is not a time such as `2026-01-31T12:00:00Z`")))?;
                Ok(format!("({column} {sign} {}::timestamptz)", self.bind(time)))
            }
        }
    }

    fn field(&mut self, kind: &Kind, path: &[String]) -> Result<Field> {
        let names = path.iter().map(String::as_str).collect::<Vec<_>>();
        let names = if names[0] == "meta" && names.len() > 1 { &names[1..] } else { &names[..] };
        Ok(match names {
            ["name"] => Field::Text("o.name".into()),
            ["project"] => Field::Text("o.project".into()),
            ["id"] => Field::Text("o.id::text".into()),
            ["generation"] => Field::Json("to_jsonb(o.generation)".into()),
            ["created_at"] => Field::Time("o.created_at"),
            ["updated_at"] => Field::Time("o.updated_at"),
            ["deleted_at"] => Field::Time("o.deleted_at"),
            ["labels", key] => Field::Text(format!("(o.labels ->> {})", self.bind((*key).to_owned()))),
            ["annotations", key] => Field::Text(format!("(o.annotations ->> {})", self.bind((*key).to_owned()))),
            ["labels"] => Field::Json("o.labels".into()),
            ["annotations"] => Field::Json("o.annotations".into()),
            ["owner" | "owner.name"] | ["owner", "name"] => Field::Text("p.name".into()),
            ["owner", "kind"] => Field::Text("p.kind".into()),
            ["owner", "id"] => Field::Text("p.id::text".into()),
            ["ready"] => Field::Text(
                "(SELECT c ->> 'status' FROM jsonb_path_query(o.status, '$.conditions[*]') c WHERE c ->> 'type' = 'Ready' LIMIT 1)"
                    .into(),
            ),
            ["spec", rest @ ..] if !rest.is_empty() => {
                if is_sensitive(kind, rest) {
                    return Err(invalid(format!("`{}` is sensitive", path.join("."))));
                }
                Field::Json(format!("(o.spec #> {})", self.bind(owned(rest))))
            }
            ["status", rest @ ..] if !rest.is_empty() => Field::Json(format!("(o.status #> {})", self.bind(owned(rest)))),
            _ => {
                return Err(invalid(format!(
                    "`{}` is not a field; there are name, labels.x, annotations.x, owner, ready, created_at, updated_at, spec.x and status.x",
                    path.join(".")
                )));
            }
        })
    }

    fn text(&mut self, sql: &str, operator: Operator, value: &str) -> String {
        match operator {
            Operator::Has if value == "*" => format!("({sql} IS NOT NULL)"),
            Operator::Equal | Operator::Has => format!("({sql} = {}::text)", self.bind(value.to_owned())),
            Operator::Unequal => format!("({sql} IS DISTINCT FROM {}::text)", self.bind(value.to_owned())),
            _ => {
                let sign = sign(operator).unwrap_or("=");
                format!("({sql} {sign} {}::text)", self.bind(value.to_owned()))
            }
        }
    }

    /// Numbers compare as numbers, also those that JSON writes as strings (64-bit integers); all else as text.
    fn json(&mut self, sql: &str, operator: Operator, value: &str) -> String {
        let text = format!("({sql} #>> '{{}}')");
        match operator {
            Operator::Has if value == "*" => format!("({sql} IS NOT NULL)"),
            Operator::Has => {
                let element = self.bind(Value::from(value));
                let key = self.bind(value.to_owned());
                format!(
                    "(CASE jsonb_typeof({sql}) WHEN 'array' THEN {sql} @> {element} WHEN 'object' THEN {sql} ? {key}
                      ELSE position(lower({key}) IN lower({text})) > 0 END)"
                )
            }
            Operator::Equal => format!("({text} = {}::text)", self.bind(value.to_owned())),
            Operator::Unequal => format!("({text} IS DISTINCT FROM {}::text)", self.bind(value.to_owned())),
            _ => {
                let sign = sign(operator).unwrap_or("=");
                match number(value) {
                    Some(number) => format!(
                        "(CASE WHEN {text} ~ '^-?[0-9]{{1,30}}([.][0-9]{{1,30}})?$' THEN {text}::numeric END
                          {sign} {}::text::numeric)",
                        self.bind(number)
                    ),
                    None => format!("({text} {sign} {}::text)", self.bind(value.to_owned())),
                }
            }
        }
    }
}

fn sign(operator: Operator) -> Option<&'static str> {
    Some(match operator {
        Operator::Equal => "=",
        Operator::Unequal => "IS DISTINCT FROM",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
        Operator::Has => return None,
    })
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Whether a field is a secret, holds one or lies in one: even a comparison would tell of it.
fn is_sensitive(kind: &Kind, names: &[&str]) -> bool {
    kind.sensitive.iter().any(|path| {
        path.0.iter().zip(names).all(|(step, name)| match step {
            Step::Field(field) => field == name,
            Step::Each => true,
        })
    })
}

/// RFC 3339, whose years have four digits: the database would refuse later ones.
fn time(text: &str) -> Option<SystemTime> {
    let time = text.parse::<prost_types::Timestamp>().ok()?;
    if !TIMES.contains(&time.seconds) {
        return None;
    }
    SystemTime::try_from(time).ok()
}

/// A finite number without exponent, which the database would refuse a large one of.
fn number(text: &str) -> Option<String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some(if text.contains(['e', 'E']) { number.to_string() } else { text.to_owned() })
}

#[cfg(test)]
mod tests {
    use threeport::registry::Registry;

    use super::*;

    fn sql(text: &str) -> Result<(String, usize)> {
        let mut condition = Condition::default();
        condition.filter(Registry::built_in().get("workload").unwrap(), &Filter::parse(text)?)?;
        Ok((condition.sql, condition.params.len()))
    }

    #[test]
    fn nothing_of_the_text_is_spliced() {
        let (sql, params) = sql("labels[\"a'b\"] = \"x'; DROP TABLE objects\" AND spec.\"'c\":1").unwrap();
        assert!(!sql.contains("DROP") && !sql.contains("a'b") && !sql.contains("'c"), "{sql}");
        assert_eq!(params, 5);
    }

    #[test]
    fn secrets_and_unknown_fields_are_refused() {
        for text in [
            "spec.secret_data.a = x",
            "spec.secret_data:*",
            "colour = red",
            "created_at > yesterday",
            "created_at > \"+12345-01-01T00:00:00Z\"",
        ] {
            assert!(sql(text).is_err(), "{text}");
        }
    }
}
