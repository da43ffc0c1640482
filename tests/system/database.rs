//! A test's own database, and a look into it: what was stored, who waits, whether anything costs work.

use std::fmt::Write;

use cli::local::postgres::Postgres;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, Row};

use super::random;

pub struct Database {
    pub url: String,
    client: Mutex<Client>,
}

impl Database {
    /// Creates an empty database.
    pub async fn create(server: &Postgres) -> Self {
        let url = server.create_database(&format!("e2e_{}", &random()[..16])).await.expect("databases can be created");
        let client = Mutex::new(connect(&url).await);
        Self { url, client }
    }

    pub async fn rows(&self, query: &str) -> Vec<Row> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            // The server was killed since, and is back.
            *client = connect(&self.url).await;
        }
        client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The one text that a query answers.
    pub async fn text(&self, query: &str) -> String {
        self.rows(query).await[0].get(0)
    }

    /// The one bigint that a query answers.
    pub async fn number(&self, query: &str) -> i64 {
        self.rows(query).await[0].get(0)
    }

    /// All rows of all tables as text.
    pub async fn dump(&self) -> String {
        let tables = self.rows("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").await;
        let mut dump = String::new();
        for table in tables {
            let table: String = table.get(0);
            for row in self.rows(&format!("SELECT t::text FROM \"{table}\" t")).await {
                writeln!(dump, "{table}: {}", row.get::<_, String>(0)).expect("strings take all that is written");
            }
        }
        dump
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}
