//! The text of list filters, after AIP-160: comparisons joined by AND, OR and NOT, with parentheses.

use crate::error::{Error, Result};

/// Deeper nesting than any person writes; a limit, so that no text exhausts the stack.
const MAX_DEPTH: usize = 32;
const MAX_LENGTH: usize = 8192;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Comparison { field: Vec<String>, operator: Operator, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// The field is there, or holds the value.
    Has,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Operator(Operator),
    Open,
    Close,
    Minus,
}

impl Filter {
    /// Reads a filter; an empty one lets everything pass.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_LENGTH || text.contains('\0') {
            return Err(invalid(format!("at most {MAX_LENGTH} bytes, and no NUL")));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        if parser.tokens.is_empty() {
            return Ok(Filter::All(Vec::new()));
        }
        let filter = parser.any(0)?;
        match parser.tokens.get(parser.at) {
            None => Ok(filter),
            Some(token) => Err(unexpected(Some(token))),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    // AIP-160 binds OR tighter than AND; mixed without parentheses it surprises, so that is refused.
    fn any(&mut self, depth: usize) -> Result<Filter> {
        let first = self.term(depth)?;
        let (mut terms, mut joined_by) = (vec![first], None);
        loop {
            let word = match self.tokens.get(self.at) {
                None | Some(Token::Close) => break,
                Some(Token::Word(word)) if word == "AND" || word == "OR" => {
                    self.at += 1;
                    if word == "AND" { "AND" } else { "OR" }
                }
                // Terms beside each other are joined by AND.
                Some(_) => "AND",
            };
            if *joined_by.get_or_insert(word) != word {
                return Err(invalid("AND and OR are mixed; say with parentheses what belongs together"));
            }
            terms.push(self.term(depth)?);
        }
        Ok(match joined_by {
            Some("OR") => Filter::Any(terms),
            Some(_) => Filter::All(terms),
            None => terms.remove(0),
        })
    }

    fn term(&mut self, depth: usize) -> Result<Filter> {
        if depth > MAX_DEPTH {
            return Err(invalid("nested too deeply"));
        }
        match self.next() {
            Some(Token::Minus) => Ok(Filter::Not(Box::new(self.term(depth + 1)?))),
            Some(Token::Word(word)) if word == "NOT" => Ok(Filter::Not(Box::new(self.term(depth + 1)?))),
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    other => Err(unexpected(other.as_ref())),
                }
            }
            Some(Token::Word(field)) => self.comparison(&field),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn comparison(&mut self, field: &str) -> Result<Filter> {
        let operator = match self.next() {
            Some(Token::Operator(operator)) => operator,
            other => return Err(unexpected(other.as_ref())),
        };
        let value = match self.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => value,
            Some(Token::Minus) => match self.next() {
                Some(Token::Word(value)) => format!("-{value}"),
                other => return Err(unexpected(other.as_ref())),
            },
            other => return Err(unexpected(other.as_ref())),
        };
        let segments = super::mask::segments(field).ok_or_else(|| invalid(format!("`{field}` is not a field")))?;
        Ok(Filter::Comparison { field: segments, operator, value })
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '-' => (Token::Minus, 1),
            '"' | '\'' => quoted(rest, first)?,
            _ => match operator(rest) {
                Some((operator, length)) => (Token::Operator(operator), length),
                None => word(rest)?,
            },
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn operator(text: &str) -> Option<(Operator, usize)> {
    let operators = [
        ("!=", Operator::Unequal),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        (":", Operator::Has),
    ];
    operators.into_iter().find(|(sign, _)| text.starts_with(sign)).map(|(sign, operator)| (operator, sign.len()))
}

/// A backslash takes the next character as it is.
fn quoted(text: &str, quote: char) -> Result<(Token, usize)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            _ if character == quote => return Ok((Token::Quoted(value), index + quote.len_utf8())),
            _ => value.push(character),
        }
    }
    Err(invalid("a quoted value has no end"))
}

/// A field or bare value: up to white space, a parenthesis or an operator; `["…"]` and `."…"` in it are taken whole.
fn word(text: &str) -> Result<(Token, usize)> {
    let mut end = 0;
    while let Some(character) = text[end..].chars().next() {
        if text[end..].starts_with("[\"") {
            let inner = text[end + 2..].find("\"]").ok_or_else(|| invalid("`[\"` has no `\"]`"))?;
            end += inner + 4;
        } else if character == '"' && text[..end].ends_with('.') {
            let inner = text[end + 1..].find('"').ok_or_else(|| invalid("a quoted part of a field has no end"))?;
            end += inner + 2;
        } else if character.is_whitespace() || "()=!<>:\"'".contains(character) {
            break;
        } else {
            end += character.len_utf8();
        }
    }
    if end == 0 {
        return Err(invalid(format!("unexpected `{}`", text.chars().next().unwrap_or_default())));
    }
    Ok((Token::Word(text[..end].to_owned()), end))
}

fn unexpected(token: Option<&Token>) -> Error {
    let found = match token {
        None => "the end".to_owned(),
        Some(Token::Word(word) | Token::Quoted(word)) => format!("`{word}`"),
        Some(Token::Operator(_)) => "an operator".to_owned(),
        Some(Token::Open) => "`(`".to_owned(),
        Some(Token::Close) => "`)`".to_owned(),
        Some(Token::Minus) => "`-`".to_owned(),
    };
    invalid(format!(
        "found {found}; write comparisons such as `labels.tier = \"dev\" AND status.health != \"Healthy\"`"
    ))
}

pub fn invalid(why: impl Into<String>) -> Error {
    Error::invalid("filter", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(field: &[&str], operator: Operator, value: &str) -> Filter {
        Filter::Comparison { field: field.iter().map(ToString::to_string).collect(), operator, value: value.into() }
    }

    #[test]
    fn comparisons_are_joined() {
        let filter = Filter::parse("labels.tier = \"dev\" AND (name != a-b OR NOT spec.replicas >= -2)").unwrap();
        let expected = Filter::All(vec![
            comparison(&["labels", "tier"], Operator::Equal, "dev"),
            Filter::Any(vec![
                comparison(&["name"], Operator::Unequal, "a-b"),
                Filter::Not(Box::new(comparison(&["spec", "replicas"], Operator::GreaterOrEqual, "-2"))),
            ]),
        ]);
        assert_eq!(filter, expected);
        assert_eq!(Filter::parse("  ").unwrap(), Filter::All(vec![]));
    }

    #[test]
    fn quotes_keep_what_they_hold() {
        let filter = Filter::parse(r#"labels["a.b/c"]:"x \" AND ) y""#).unwrap();
        assert_eq!(filter, comparison(&["labels", "a.b/c"], Operator::Has, "x \" AND ) y"));
    }

    #[test]
    fn nonsense_is_refused() {
        let deep = format!("{}name=a", "NOT ".repeat(100));
        for text in
            ["name", "name =", "= a", "name = a OR", "(name = a", "a = b AND c = d OR e = f", "name = \"a", &deep]
        {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
