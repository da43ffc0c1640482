//! Statements that each connection prepares once: a round trip less for every query. Those made from what users write aren't
//! kept: there is no end of them.

use deadpool_postgres::GenericClient;
use futures::future::try_join_all;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::Result;

pub async fn query<C: GenericClient + Sync>(client: &C, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

/// For statements that are not likely to come again.
pub async fn query_once<C: GenericClient + Sync>(
    client: &C,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    Ok(client.query(sql, params).await?)
}

/// Two queries on one round trip. The second begins when the first has ended, and sees what committed while that waited.
pub async fn query_both<C: GenericClient + Sync>(
    client: &C,
    first: Query<'_>,
    second: Query<'_>,
) -> Result<(Vec<Row>, Vec<Row>)> {
    let mut rows = query_all(client, &[first, second]).await?;
    let second = rows.pop().unwrap_or_default();
    Ok((rows.pop().unwrap_or_default(), second))
}

/// A statement with its parameters.
pub type Query<'a> = (&'a str, &'a [&'a (dyn ToSql + Sync)]);

/// Any number of queries on one round trip, each beginning when the one before has ended.
pub async fn query_all<C: GenericClient + Sync>(client: &C, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>> {
    let mut prepared = Vec::with_capacity(queries.len());
    for (sql, params) in queries {
        prepared.push((client.prepare_cached(sql).await?, *params));
    }
    Ok(try_join_all(prepared.iter().map(|(statement, params)| client.query(statement, params))).await?)
}

pub async fn query_one<C: GenericClient + Sync>(client: &C, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_one(&statement, params).await?)
}

pub async fn query_opt<C: GenericClient + Sync>(
    client: &C,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_opt(&statement, params).await?)
}

pub async fn execute<C: GenericClient + Sync>(client: &C, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}
