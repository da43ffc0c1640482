//! An object's past, from the log: who changed which field, when and why. Secrets never show.

use serde_json::Value;
use threeport::json::from_json;
use threeport::kind::Kind;
use threeport::v1::{Difference, HistoryEntry, HistoryRequest, HistoryResponse, ObjectMeta};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, differences, page, statement};
use crate::error::{Error, Result};

const DEFAULT_SIZE: i64 = 50;
const LARGEST_SIZE: i64 = 500;

/// Each change with what the object was before it: the last spec and meta that the log has. Namesakes that are gone are
/// part of a name's past.
const CHANGES: &str = "
    SELECT c.commit_id, c.ordinal, c.object_id, c.type, c.meta, c.spec, m.actor, m.reason, m.traceparent, m.at, p.position,
           old_spec.spec AS old_spec, old_meta.meta AS old_meta
    FROM changes c
    JOIN commits m ON m.id = c.commit_id
    LEFT JOIN positions p ON p.commit_id = c.commit_id
    LEFT JOIN LATERAL (
        SELECT b.spec FROM changes b
        WHERE c.spec IS NOT NULL AND b.object_id = c.object_id AND b.commit_id < c.commit_id
          AND b.type <> 'status' AND b.spec IS NOT NULL
        ORDER BY b.commit_id DESC LIMIT 1) old_spec ON true
    LEFT JOIN LATERAL (
        SELECT b.meta FROM changes b
        WHERE b.object_id = c.object_id AND b.commit_id < c.commit_id AND b.type <> 'status'
        ORDER BY b.commit_id DESC LIMIT 1) old_meta ON true
    WHERE c.kind = $1 AND c.project = $2 AND c.name = $3 AND c.type <> 'status' AND (c.commit_id, c.ordinal) < ($4, $5)
    ORDER BY c.commit_id DESC, c.ordinal DESC LIMIT $6";

impl Store {
    /// A page of an object's past, newest first.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryResponse> {
        let kind = self.kind(&request.kind).await?;
        let size = page::size(request.page_size, DEFAULT_SIZE, LARGEST_SIZE)?;
        let question = ["history", &kind.name, &request.project, &request.name];
        let (commit, ordinal) = page::after(&question, &request.page_token)?.unwrap_or((i64::MAX, i32::MAX));
        if request.project.contains('\0') || request.name.contains('\0') {
            return Err(super::read::not_found(&kind, &request.name.replace('\0', "")));
        }
        let connection = self.pool.get().await?;
        let limit = size + 1;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&kind.name, &request.project, &request.name, &commit, &ordinal, &limit];
        let mut rows = statement::query(&connection, CHANGES, &params).await?;
        if rows.is_empty() && request.page_token.is_empty() {
            return Err(super::read::not_found(&kind, &request.name));
        }
        let has_more = i64::try_from(rows.len()).is_ok_and(|found| found > size);
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next_page_token = match rows.last().filter(|_| has_more) {
            Some(row) => page::token(&question, &(row.get::<_, i64>("commit_id"), row.get::<_, i32>("ordinal")))?,
            None => String::new(),
        };
        let entries = rows.iter().map(|row| self.entry(&kind, row)).collect::<Result<Vec<_>>>()?;
        Ok(HistoryResponse { entries, next_page_token })
    }

    fn entry(&self, kind: &Kind, row: &Row) -> Result<HistoryEntry> {
        let meta = meta(row.get("meta"))?;
        let before = row.get::<_, Option<Value>>("old_meta").map(self::meta).transpose()?;
        let mut differences = differences::of_meta(before.as_ref(), &meta);
        differences.extend(self.spec_differences(kind, row));
        let at: std::time::SystemTime = row.get("at");
        Ok(HistoryEntry {
            position: row.get::<_, Option<i64>>("position").unwrap_or_default(),
            r#type: row.get("type"),
            actor: row.get("actor"),
            at: Some(at.into()),
            reason: row.get("reason"),
            trace_id: trace_id(row.get("traceparent")),
            generation: meta.generation,
            revision: meta.revision,
            differences,
        })
    }

    fn spec_differences(&self, kind: &Kind, row: &Row) -> Vec<Difference> {
        let Some(after) = row.get::<_, Option<Value>>("spec") else { return Vec::new() };
        let (id, before) = (row.get("object_id"), row.get::<_, Option<Value>>("old_spec"));
        let before = before.map(|spec| self.readable(kind, id, spec));
        differences::of_specs(kind, before.as_ref(), Some(&self.readable(kind, id, after)))
    }

    /// A logged spec in the clear. Under a key that is gone its secrets stay as they are: they still tell whether they changed.
    fn readable(&self, kind: &Kind, id: Uuid, mut spec: Value) -> Value {
        let stored = spec.clone();
        match self.secrets.reveal(kind, id, &mut spec) {
            Ok(()) => spec,
            Err(_) => stored,
        }
    }
}

fn meta(json: Value) -> Result<ObjectMeta> {
    from_json(json).map_err(|error| Error::Corrupt(format!("logged meta: {error}")))
}

/// The trace of a W3C traceparent: `00-<trace id>-<span id>-<flags>`.
fn trace_id(traceparent: &str) -> String {
    traceparent.split('-').nth(1).unwrap_or_default().to_owned()
}
