//! What happened to objects lately, newest first.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use threeport::v1::{Event, EventsRequest, EventsResponse, ObjectReference};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, page, statement};
use crate::error::{Error, Result};

const DEFAULT_SIZE: i64 = 100;
const LARGEST_SIZE: i64 = 1000;

/// Empty texts let everything pass.
const EVENTS: &str = "
    SELECT e.* FROM events e
    WHERE ($1 = '' OR e.project = $1) AND ($2 = '' OR e.kind = $2) AND $3 = '' AND (e.last_seen_at, e.id) < ($4, $5)
    ORDER BY e.last_seen_at DESC, e.id DESC LIMIT $6";

/// Those about a name include those about what the object of that name owns, and those about namesakes that are gone.
const EVENTS_OF_NAME: &str = "
    WITH RECURSIVE closure (id) AS (
        SELECT o.id FROM objects o WHERE o.name = $3 AND ($1 = '' OR o.project = $1) AND ($2 = '' OR o.kind = $2)
        UNION ALL
        SELECT o.id FROM closure c JOIN objects o ON o.owner_id = c.id
    ), about (id) AS (
        SELECT e.id FROM closure c JOIN events e ON e.object_id = c.id WHERE $1 = '' OR e.project = $1
        UNION
        SELECT e.id FROM events e WHERE e.name = $3 AND ($1 = '' OR e.project = $1) AND ($2 = '' OR e.kind = $2)
    )
    SELECT e.* FROM about JOIN events e USING (id) WHERE (e.last_seen_at, e.id) < ($4, $5)
    ORDER BY e.last_seen_at DESC, e.id DESC LIMIT $6";

/// Where a page ended.
#[derive(Serialize, Deserialize)]
struct Last {
    micros: i64,
    id: Uuid,
}

impl Store {
    /// A page of events.
    pub async fn events(&self, request: EventsRequest) -> Result<EventsResponse> {
        let kind = if request.kind.is_empty() { String::new() } else { self.kind(&request.kind).await?.name.clone() };
        let project = if request.project == "-" { "" } else { request.project.as_str() };
        if project.contains('\0') || request.name.contains('\0') {
            return Err(Error::invalid("name", "must not contain a NUL character"));
        }
        let size = page::size(request.page_size, DEFAULT_SIZE, LARGEST_SIZE)?;
        let question = ["events", project, &kind, &request.name];
        let last: Option<Last> = page::after(&question, &request.page_token)?;
        let (before, id) = match &last {
            Some(last) => (page::time(last.micros)?, last.id),
            // A day ahead: clocks of servers may differ.
            None => (SystemTime::now() + Duration::from_hours(24), Uuid::max()),
        };
        let connection = self.pool.get().await?;
        let limit = size + 1;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&project, &kind, &request.name, &before, &id, &limit];
        let sql = if request.name.is_empty() { EVENTS } else { EVENTS_OF_NAME };
        let mut rows = statement::query(&connection, sql, &params).await?;
        let has_more = i64::try_from(rows.len()).is_ok_and(|found| found > size);
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next_page_token = match rows.last().filter(|_| has_more) {
            Some(row) => page::token(&question, &last_of(row))?,
            None => String::new(),
        };
        Ok(EventsResponse { events: rows.iter().map(event).collect(), next_page_token })
    }
}

fn last_of(row: &Row) -> Last {
    Last { micros: page::micros(row.get("last_seen_at")), id: row.get("id") }
}

fn event(row: &Row) -> Event {
    let (first, last): (SystemTime, SystemTime) = (row.get("first_seen_at"), row.get("last_seen_at"));
    Event {
        id: row.get::<_, Uuid>("id").to_string(),
        about: Some(ObjectReference {
            kind: row.get("kind"),
            project: row.get("project"),
            name: row.get("name"),
            id: row.get::<_, Uuid>("object_id").to_string(),
        }),
        r#type: row.get("type"),
        reason: row.get("reason"),
        note: row.get("note"),
        count: row.get("count"),
        first_seen_at: Some(first.into()),
        last_seen_at: Some(last.into()),
        reported_by: row.get("reported_by"),
    }
}
