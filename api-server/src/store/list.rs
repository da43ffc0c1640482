//! Lists: a page of a kind's objects in one snapshot, with the position to watch from.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use deadpool_postgres::Transaction;
use serde::{Deserialize, Serialize};
use threeport::kind::Kind;
use threeport::v1::{ListObjectsRequest, ObjectList};
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::condition::Condition;
use super::filter::Filter;
use super::{Row, Store, page, row, statement};
use crate::error::{Error, Result};

const DEFAULT_SIZE: i64 = 100;
const LARGEST_SIZE: i64 = 1000;
/// Stands for all projects.
const ALL: &str = "-";

/// Where a page ended.
#[derive(Serialize, Deserialize)]
struct Last {
    name: String,
    /// Microseconds, as the database keeps time.
    time: i64,
    id: Uuid,
    position: i64,
}

#[derive(Clone, Copy)]
enum Column {
    Name,
    CreatedAt,
    UpdatedAt,
}

struct Order {
    column: Column,
    is_descending: bool,
}

impl Store {
    /// A page of the objects of a kind.
    pub async fn list(&self, request: ListObjectsRequest) -> Result<ObjectList> {
        let kind = self.kind(&request.kind).await?;
        check_project(&kind, &request.project)?;
        let order = order(&request.order_by)?;
        let size = page::size(request.page_size, DEFAULT_SIZE, LARGEST_SIZE)?;
        let question = [kind.name.as_str(), &request.project, &request.filter, &request.order_by];
        let last: Option<Last> = page::after(&question, &request.page_token)?;
        let condition = condition(&kind, &request, &order, last.as_ref())?;

        let mut connection = self.pool.get().await?;
        let snapshot = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let tx = snapshot.start().await?;
        let position = match &last {
            Some(last) => last.position,
            None => position(&tx).await?,
        };
        let mut rows = select(&tx, &order, condition, size + 1).await?;
        let has_more = i64::try_from(rows.len()).is_ok_and(|found| found > size);
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next_page_token = match rows.last().filter(|_| has_more) {
            Some(row) => page::token(&question, &order.last(row, position))?,
            None => String::new(),
        };
        let items = self.objects(&tx, rows).await?;
        tx.commit().await?;
        Ok(ObjectList { items, next_page_token, position })
    }
}

fn check_project(kind: &Kind, project: &str) -> Result<()> {
    if project.contains('\0') {
        return Err(Error::invalid("project", "must not contain a NUL character"));
    }
    match (kind.is_in_project, project) {
        (true, "") => Err(Error::invalid("project", "missing; name a project, or `-` for all")),
        (false, project) if !project.is_empty() && project != ALL => {
            Err(Error::invalid("project", format!("must be empty: a {} lives in no project", kind.name)))
        }
        _ => Ok(()),
    }
}

fn order(text: &str) -> Result<Order> {
    let (name, is_descending) = match text.trim().strip_suffix(" desc") {
        Some(name) => (name.trim(), true),
        None => (text.trim(), false),
    };
    let column = match name {
        "" | "name" => Column::Name,
        "created_at" => Column::CreatedAt,
        "updated_at" => Column::UpdatedAt,
        _ => {
            let wrong = "there are `name`, `created_at` and `updated_at`, each with an optional ` desc`";
            return Err(Error::invalid("order_by", wrong));
        }
    };
    Ok(Order { column, is_descending })
}

impl Order {
    fn sql(&self) -> &'static str {
        match self.column {
            Column::Name => "o.name",
            Column::CreatedAt => "o.created_at",
            Column::UpdatedAt => "o.updated_at",
        }
    }

    fn last(&self, row: &Row, position: i64) -> Last {
        let time = match self.column {
            Column::Name => UNIX_EPOCH,
            Column::CreatedAt => row.created_at,
            Column::UpdatedAt => row.updated_at,
        };
        Last { name: row.name.clone(), time: page::micros(time), id: row.id, position }
    }
}

fn condition(kind: &Kind, request: &ListObjectsRequest, order: &Order, last: Option<&Last>) -> Result<Condition> {
    if last.is_some_and(|last| last.name.contains('\0')) {
        return Err(Error::invalid("page_token", "not a token"));
    }
    let mut condition = Condition::default();
    let place = condition.bind(kind.name.clone());
    condition.sql = format!("o.kind = {place}");
    if kind.is_in_project && request.project != ALL {
        let place = condition.bind(request.project.clone());
        let _ = write!(condition.sql, " AND o.project = {place}");
    }
    condition.filter(kind, &Filter::parse(&request.filter)?)?;
    if let Some(last) = last {
        let value = match order.column {
            Column::Name => condition.bind(last.name.clone()),
            Column::CreatedAt | Column::UpdatedAt => condition.bind(page::time(last.time)?),
        };
        let id = condition.bind(last.id);
        let sign = if order.is_descending { "<" } else { ">" };
        let _ = write!(condition.sql, " AND ({}, o.id) {sign} ({value}, {id})", order.sql());
    }
    Ok(condition)
}

async fn select(tx: &Transaction<'_>, order: &Order, mut condition: Condition, limit: i64) -> Result<Vec<Row>> {
    let limit = condition.bind(limit);
    let direction = if order.is_descending { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT {} FROM objects o LEFT JOIN objects p ON p.id = o.owner_id WHERE {}
         ORDER BY {} {direction}, o.id {direction} LIMIT {limit}",
        row::COLUMNS,
        condition.sql,
        order.sql()
    );
    let params = condition.params.iter().map(|param| param.as_ref() as &(dyn ToSql + Sync)).collect::<Vec<_>>();
    Ok(statement::query_once(tx, &sql, &params).await?.iter().map(Row::from).collect())
}

/// The newest position of the snapshot.
async fn position(tx: &Transaction<'_>) -> Result<i64> {
    let sql = "SELECT greatest((SELECT max(position) FROM positions), (SELECT last_position FROM sequencer)) AS newest";
    Ok(statement::query_one(tx, sql, &[]).await?.get::<_, Option<i64>>("newest").unwrap_or_default())
}
