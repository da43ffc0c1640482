//! From a URL to a store that is ready: pool, migrations, first rows.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolConfig, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{Keyring, Store, statement};
use crate::error::{Error, Result};

/// 8 to 16 connections are best on two cores; more only queue inside the database.
const POOL_SIZE: usize = 16;
/// Each replica renews once a second, in one statement.
const LEASE_POOL_SIZE: usize = 1;
/// How long a request waits for a connection before it is told to retry.
const WAIT: Duration = Duration::from_secs(10);
/// How long a database may leave unanswered what was sent to it.
const SILENCE: Duration = Duration::from_secs(30);
/// Unless the URL's options say otherwise.
const LONGEST_STATEMENT: Duration = Duration::from_mins(1);
/// Planned anew for each array of one, statements cost more to plan than to run. They are planned once instead, for tables
/// that may still be empty: every statement has its index, and is to use it from the start. What has none counts as so dear
/// that it would be compiled each time it runs, at a hundred times its cost.
const PLANNING: [(&str, &str); 4] =
    [("plan_cache_mode", "force_generic_plan"), ("random_page_cost", "1.1"), ("enable_seqscan", "off"), ("jit", "off")];
/// How often a lost race for the table of the migration lock is run again.
const LOCK_ATTEMPTS: u32 = 10;

/// The project that every control plane has.
pub const DEFAULT_PROJECT: &str = "default";

mod schema {
    refinery::embed_migrations!("migrations");
}

impl Store {
    /// Connects to a database; `url` as libpq understands it.
    pub fn connect(url: &str, secrets: Keyring) -> Result<Self> {
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error| Error::Configuration(format!("invalid database URL: {error}")))?;
        limit_time(&mut config);
        for (name, value) in PLANNING {
            set(&mut config, name, value);
        }
        Ok(Self::new(pool(config.clone(), POOL_SIZE)?, pool(config, LEASE_POOL_SIZE)?, secrets))
    }

    /// Brings the schema up to date. Any number of servers may start at once: a row's lock lets one through at a time, and
    /// goes with its connection if that one dies.
    pub async fn migrate(&self) -> Result<()> {
        self.make_migration_lock().await?;
        let mut guard = self.pool.get().await?;
        let lock = guard.transaction().await?;
        // Another server's migration, and our own, take the time that they need.
        lock.execute("SET LOCAL statement_timeout = 0", &[]).await?;
        lock.execute("SELECT 1 FROM migration_lock FOR UPDATE", &[]).await?;
        let mut connection = self.pool.get().await?;
        connection.batch_execute("SET statement_timeout = 0").await?;
        schema::migrations::runner().run_async(&mut **connection.as_mut()).await.map_err(Box::new)?;
        connection.batch_execute("RESET statement_timeout").await?;
        lock.commit().await?;
        Ok(())
    }

    /// `CREATE TABLE IF NOT EXISTS` fails when two run it at once; the loser runs it again.
    async fn make_migration_lock(&self) -> Result<()> {
        let connection = self.pool.get().await?;
        let mut attempt = 1;
        loop {
            let made = connection
                .batch_execute(
                    "CREATE TABLE IF NOT EXISTS migration_lock (only_row boolean PRIMARY KEY CHECK (only_row));
                     INSERT INTO migration_lock VALUES (true) ON CONFLICT DO NOTHING",
                )
                .await;
            match made {
                Ok(()) => return Ok(()),
                Err(error) if attempt < LOCK_ATTEMPTS && is_creation_race(&error) => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stores what every control plane has and brings what derives from the kinds up to date.
    pub async fn seed(&self) -> Result<()> {
        let connection = self.pool.get().await?;
        statement::execute(
            &connection,
            "INSERT INTO objects (id, kind, project, name) VALUES ($1, 'project', '', $2) ON CONFLICT DO NOTHING",
            &[&Uuid::now_v7(), &DEFAULT_PROJECT],
        )
        .await?;
        drop(connection);
        self.refresh_kinds().await?;
        self.seed_controllers().await?;
        self.rotate_secrets().await
    }

    /// Whether the database answers, for readiness.
    pub async fn ping(&self) -> Result<()> {
        self.pool.get().await?.batch_execute("").await?;
        Ok(())
    }
}

fn pool(config: tokio_postgres::Config, max_size: usize) -> Result<Pool> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let timeouts = Timeouts { wait: Some(WAIT), create: Some(WAIT), recycle: Some(WAIT) };
    Pool::builder(Manager::from_config(config, NoTls, recycling))
        .config(PoolConfig { max_size, timeouts, ..PoolConfig::default() })
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| Error::Configuration(format!("invalid pool: {error}")))
}

/// A database that is gone without a word is given up, and so is a statement without an end.
pub fn limit_time(config: &mut tokio_postgres::Config) {
    config
        .connect_timeout(WAIT)
        .tcp_user_timeout(SILENCE)
        .keepalives_idle(SILENCE / 3)
        .keepalives_interval(SILENCE / 3)
        .keepalives_retries(2);
    set(config, "statement_timeout", &LONGEST_STATEMENT.as_millis().to_string());
}

/// Sets what the URL's own options don't set otherwise.
fn set(config: &mut tokio_postgres::Config, name: &str, value: &str) {
    let ours = format!("-c {name}={value}");
    let options = config.get_options().map_or_else(|| ours.clone(), |given| format!("{ours} {given}"));
    config.options(options);
}

fn is_creation_race(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE | &SqlState::DUPLICATE_OBJECT))
}
