//! A real Postgres for tests: one server for all tests of a program that run at the same time, a database for each.

use std::sync::{Arc, Weak};

use cli::local::postgres::Postgres;
use cli::local::{Silent, directories};
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Ends, and takes its data with it, when the last test that uses it is over.
pub struct Server {
    postgres: Postgres,
    _directory: TempDir,
}

/// An empty database; keep it for as long as it is used.
pub struct Database {
    pub url: String,
    _server: Arc<Server>,
}

static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

/// Makes an empty database.
pub async fn database() -> Database {
    let mut shared = SHARED.lock().await;
    let server = match shared.upgrade() {
        Some(server) => server,
        None => Arc::new(start().await),
    };
    *shared = Arc::downgrade(&server);
    drop(shared);
    let name = format!("test-{}", Uuid::new_v4());
    let url = server.postgres.create_database(&name).await.expect("a fresh server makes databases");
    Database { url, _server: server }
}

async fn start() -> Server {
    let directory = directories::scratch().expect("the temporary folder can be written");
    let postgres = Postgres::start_on(
        directory.path(),
        cli::local::ports::free(1).expect("there is a free port")[0],
        &["fsync=off"],
        &Silent,
    )
    .await
    .expect("Postgres starts");
    Server { postgres, _directory: directory }
}
