//! Request ids: a write that is repeated under the same id repeats its answer, not its work.

use deadpool_postgres::Transaction;
use prost::{Message, Name};
use serde_json::Value;
use threeport::json::{from_json, to_json};

use super::{Cause, Keyring, statement};
use crate::error::{Error, Result};

const MAX_LENGTH: usize = 64;

/// A request's claim to be answered once.
#[derive(Clone, Debug)]
pub struct Ticket {
    identity: String,
    /// Empty: the caller gave none.
    id: String,
    /// With each key, the newest first: the keys may have changed since the request came first.
    fingerprints: Vec<Vec<u8>>,
}

impl Ticket {
    /// `method` and `request` are what a repetition has to be the same in.
    pub fn new<M: Message + Name>(
        keyring: &Keyring,
        cause: &Cause,
        id: &str,
        method: &str,
        request: &M,
    ) -> Result<Self> {
        if id.len() > MAX_LENGTH || id.contains('\0') {
            return Err(Error::invalid("request_id", format!("at most {MAX_LENGTH} characters, and no NUL")));
        }
        let mut fingerprints = Vec::new();
        if !id.is_empty() {
            let mut text = format!("{method}\n");
            write_sorted(&to_json(request), &mut text);
            fingerprints = keyring.fingerprints(&text);
        }
        Ok(Self { identity: cause.actor.clone(), id: id.to_owned(), fingerprints })
    }

    /// The answer given before, if this is a repetition; else the id is taken, for this transaction alone.
    pub async fn recall<M: Message + Name + Default>(&self, tx: &Transaction<'_>) -> Result<Option<M>> {
        if self.id.is_empty() {
            return Ok(None);
        }
        let taken = statement::execute(
            tx,
            "INSERT INTO request_ids AS r (identity, request_id, fingerprint, response) VALUES ($1, $2, $3, 'null')
             ON CONFLICT (identity, request_id) DO UPDATE
             SET fingerprint = excluded.fingerprint, response = 'null', at = now()
             WHERE r.at < now() - interval '24 hours'",
            &[&self.identity, &self.id, &self.fingerprints[0]],
        )
        .await?;
        if taken > 0 {
            return Ok(None);
        }
        let sql = "SELECT fingerprint, response FROM request_ids WHERE identity = $1 AND request_id = $2";
        let row = statement::query_one(tx, sql, &[&self.identity, &self.id]).await?;
        if !self.fingerprints.contains(&row.get("fingerprint")) {
            return Err(Error::RequestIdReused(self.id.clone()));
        }
        from_json(row.get("response")).map(Some).map_err(|error| Error::Corrupt(format!("stored answer: {error}")))
    }

    pub async fn remember<M: Message + Name>(&self, tx: &Transaction<'_>, response: &M) -> Result<()> {
        if self.id.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE request_ids SET response = $3 WHERE identity = $1 AND request_id = $2";
        statement::execute(tx, sql, &[&self.identity, &self.id, &to_json(response)]).await?;
        Ok(())
    }
}

/// JSON with its keys in order, whatever order the maps of the request were read in.
fn write_sorted(json: &Value, text: &mut String) {
    match json {
        Value::Object(fields) => {
            let mut sorted = fields.iter().collect::<Vec<_>>();
            sorted.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in sorted {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
