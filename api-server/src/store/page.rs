//! Page sizes and page tokens: opaque, and good only for the question that they were given for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use threeport::json::check_nul;

use crate::error::{Error, Result};

/// A page size within bounds; 0 asks for the default.
pub fn size(asked: i32, default: i64, largest: i64) -> Result<i64> {
    match i64::from(asked) {
        ..0 => Err(Error::invalid("page_size", "must not be negative")),
        0 => Ok(default),
        size => Ok(size.min(largest)),
    }
}

/// A token for what comes after `last`.
pub fn token<T: Serialize>(question: &[&str], last: &T) -> Result<String> {
    let content = serde_json::to_vec(&(fingerprint(question), last));
    content.map(|content| URL_SAFE_NO_PAD.encode(content)).map_err(|error| Error::Corrupt(error.to_string()))
}

/// Where a token continues; none for the first page.
pub fn after<T: DeserializeOwned>(question: &[&str], token: &str) -> Result<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Error::invalid("page_token", "not a token of this question; ask for the first page again");
    let content = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    let content: Value = serde_json::from_slice(&content).map_err(|_| wrong())?;
    let mut violations = Vec::new();
    check_nul(&content, "page_token", &mut violations);
    if !violations.is_empty() {
        return Err(wrong());
    }
    let (asked, last): (String, T) = serde_json::from_value(content).map_err(|_| wrong())?;
    if asked == fingerprint(question) { Ok(Some(last)) } else { Err(wrong()) }
}

/// A time that a token holds as microseconds, as the database keeps it.
pub fn time(micros: i64) -> Result<SystemTime> {
    let since = u64::try_from(micros).ok().map(Duration::from_micros);
    since.and_then(|since| UNIX_EPOCH.checked_add(since)).ok_or_else(|| Error::invalid("page_token", "not a token"))
}

/// What [`time`] reads.
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn fingerprint(question: &[&str]) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, question.join("\0").as_bytes()).as_ref()[..9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answers_its_own_question_only() {
        let token = token(&["workload", "default"], &("web", 7)).unwrap();
        assert_eq!(after::<(String, i64)>(&["workload", "default"], &token).unwrap(), Some(("web".into(), 7)));
        for (question, token) in [(["workload", "other"], token.as_str()), (["workload", "default"], "x")] {
            assert!(after::<(String, i64)>(&question, token).is_err());
        }
        let forged = super::token(&["workload", "default"], &("web\0", 7)).unwrap();
        assert!(after::<(String, i64)>(&["workload", "default"], &forged).is_err());
        assert_eq!(size(0, 100, 1000).unwrap(), 100);
        assert_eq!(size(5000, 100, 1000).unwrap(), 1000);
        assert!(size(-1, 100, 1000).is_err());
    }
}
