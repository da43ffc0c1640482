//! Statements that each connection prepares once: a round trip less for every query. Those made from what users write aren't
//! kept: there is no end of them.

use deadpool_postgres::GenericClient;
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
    first: (&str, &[&(dyn ToSql + Sync)]),
    second: (&str, &[&(dyn ToSql + Sync)]),
) -> Result<(Vec<Row>, Vec<Row>)> {
    let (one, two) = (client.prepare_cached(first.0).await?, client.prepare_cached(second.0).await?);
    Ok(tokio::try_join!(client.query(&one, first.1), client.query(&two, second.1))?)
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
