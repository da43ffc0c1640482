//! One Postgres for the test process, a database of its own for every test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use api_server::store::work::Caller;
use api_server::store::{Cause, Keyring, Store};
use serde_json::{Value, json};
use threeport::json::to_struct;
use threeport::v1::{self, ObjectMeta};
use tokio_postgres::NoTls;
use uuid::Uuid;

pub const KEYS: &str = "first:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TEMPLATE: &str = "threeport_template";

struct Postgres {
    directory: PathBuf,
    /// Ends with this process, however that ends: it waits for its input to close.
    _keeper: Child,
}

static POSTGRES: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A store with its database, migrated and seeded.
pub struct Fixture {
    pub store: Store,
    pub url: String,
}

impl Fixture {
    pub async fn new() -> Self {
        let postgres = POSTGRES.get_or_init(start);
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&postgres.url("postgres")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")).await.unwrap();
        let url = postgres.url(&name);
        let store = Store::connect(&url, Keyring::parse(KEYS).unwrap()).unwrap();
        Self { store, url }
    }

    /// Another server on the same database.
    pub async fn another(&self, keys: &str) -> Store {
        let store = Store::connect(&self.url, Keyring::parse(keys).unwrap()).unwrap();
        store.seed().await.unwrap();
        store
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        connect(&self.url).await
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.sql().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Everything that the database holds, as text.
    pub async fn dump(&self) -> String {
        let sql = self.sql().await;
        let tables = sql.query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'", &[]).await.unwrap();
        let mut text = String::new();
        for table in tables {
            let table: String = table.get(0);
            for row in sql.query(&format!("SELECT to_jsonb(t) FROM {table} t"), &[]).await.unwrap() {
                text.push_str(&row.get::<_, Value>(0).to_string());
            }
        }
        text
    }

    pub async fn apply(&self, objects: &[v1::Object]) -> api_server::error::Result<v1::ApplyResponse> {
        let request = v1::ApplyRequest { objects: objects.to_vec(), ..Default::default() };
        self.store.apply(request, &cause()).await
    }

    pub async fn delete(&self, kind: &str, name: &str) -> api_server::error::Result<v1::DeleteResponse> {
        self.store.delete(deletion(kind, name), &cause()).await
    }

    /// Plays all controllers until nothing is due: each look is done, and each deletion proved.
    pub async fn reconcile(&self) {
        let (replica, cause) = (Uuid::now_v7().to_string(), cause());
        let caller = || Caller { cause: &cause, may_act_as: &|_, _| true };
        let renewal = v1::RenewRequest { replica: replica.clone(), ..Default::default() };
        self.store.renew(renewal, caller()).await.unwrap();
        let due = "SELECT object_id, kind, controller FROM work WHERE due_at <= now() AND holder IS NULL LIMIT 50";
        loop {
            let rows = self.sql().await.query(due, &[]).await.unwrap();
            if rows.is_empty() {
                return;
            }
            let item = |row: &tokio_postgres::Row| v1::BeginItem {
                controller: Some(v1::ControllerReference { kind: row.get("kind"), name: row.get("controller") }),
                object_id: row.get::<_, Uuid>("object_id").to_string(),
            };
            let items = rows.iter().map(item).collect::<Vec<_>>();
            let request = v1::BeginRequest { replica: replica.clone(), items: items.clone() };
            let begun = self.store.begin(request, caller()).await.unwrap();
            let ends = items.into_iter().zip(begun.results).filter(|(_, begun)| begun.outcome == "begun");
            let items = ends.map(|(item, begun)| end(item, &begun)).collect();
            self.store.finish(v1::FinishRequest { replica: replica.clone(), items }, caller()).await.unwrap();
        }
    }
}

/// Ends a look: done, Ready, and cleaned up if the object is to go.
pub fn end(item: v1::BeginItem, begun: &v1::BeginResult) -> v1::FinishItem {
    let is_deleting = begun.object.as_ref().unwrap().meta.as_ref().unwrap().deleted_at.is_some();
    let ready =
        v1::Condition { r#type: "Ready".into(), status: "True".into(), reason: "Tested".into(), ..Default::default() };
    v1::FinishItem {
        lease: Some(v1::Lease { controller: item.controller, object_id: item.object_id, epoch: begun.epoch }),
        wanted: begun.wanted,
        outcome: "done".into(),
        conditions: vec![ready],
        cleaned_up: is_deleting,
        ..Default::default()
    }
}

pub fn cause() -> Cause {
    Cause { actor: "user:test".into(), ..Cause::default() }
}

pub fn deletion(kind: &str, name: &str) -> v1::DeleteObjectRequest {
    let project = if kind == "project" || kind == "object-kind" { "" } else { "default" };
    v1::DeleteObjectRequest { kind: kind.into(), project: project.into(), name: name.into(), ..Default::default() }
}

pub fn object(kind: &str, project: &str, name: &str, spec: Value) -> v1::Object {
    v1::Object {
        kind: kind.into(),
        meta: Some(ObjectMeta { project: project.into(), name: name.into(), ..Default::default() }),
        spec: Some(to_struct(spec)),
        status: None,
    }
}

pub fn manifest(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 1\n  selector:\n    \
         matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n      - name: web\n        image: {image}\n"
    )
}

pub fn definition(name: &str) -> v1::Object {
    object("workload-definition", "default", name, json!({ "manifest": manifest("nginx:1") }))
}

pub fn runtime(name: &str) -> v1::Object {
    let spec = json!({ "endpoint": "https://10.0.0.1:6443", "token": "hunter2-token" });
    object("kubernetes-runtime-instance", "default", name, spec)
}

pub fn instance(name: &str, definition: &str) -> v1::Object {
    let spec = json!({ "definition": definition, "runtime": "local" });
    object("workload-instance", "default", name, spec)
}

pub fn project(name: &str) -> v1::Object {
    object("project", "", name, json!({}))
}

pub fn meta(object: &v1::Object) -> &ObjectMeta {
    object.meta.as_ref().unwrap()
}

pub fn outcomes(response: &v1::ApplyResponse) -> Vec<&str> {
    response.results.iter().map(|result| result.outcome.as_str()).collect()
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Postgres {
    fn url(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.directory.display())
    }
}

fn start() -> Postgres {
    let directory = std::env::temp_dir().join(format!("threeport-store-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        // Postgres refuses to run as root.
        assert!(Command::new("chown").arg("postgres").arg(&directory).status().unwrap().success());
    }
    let script = format!(
        "cd {directory} && {binaries}initdb -D data -U postgres -A trust --no-sync >initdb.log 2>&1 || exit 1
         {binaries}postgres -D data -k {directory} -c listen_addresses= -c fsync=off -c max_connections=400 >log 2>&1 &
         cat >/dev/null; kill -QUIT $!; wait; cd /; rm -rf {directory}",
        directory = directory.display(),
        binaries = binaries(),
    );
    let mut command = Command::new(if is_root { "runuser" } else { "sh" });
    if is_root {
        command.args(["-u", "postgres", "--", "sh"]);
    }
    let keeper = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let postgres = Postgres { directory, _keeper: keeper };
    let url = postgres.url("postgres");
    // The runtime of the first test must not own what all share.
    let template = postgres.url(TEMPLATE);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(make_template(&url, &template));
    })
    .join()
    .unwrap();
    postgres
}

async fn make_template(url: &str, template: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let client = loop {
        match tokio_postgres::connect(url, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                break client;
            }
            Err(error) => assert!(Instant::now() < deadline, "Postgres does not start: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    client.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    // Several servers may start at once.
    let stores = (0..3).map(|_| Store::connect(template, Keyring::parse(KEYS).unwrap()).unwrap()).collect::<Vec<_>>();
    for outcome in futures::future::join_all(stores.iter().map(Store::migrate)).await {
        outcome.unwrap();
    }
    for outcome in futures::future::join_all(stores.iter().map(Store::seed)).await {
        outcome.unwrap();
    }
}

/// The folder of the programs with a slash; nothing when they are on the PATH.
fn binaries() -> String {
    if Command::new("initdb").arg("--version").output().is_ok() {
        return String::new();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Postgres is installed");
    let newest = versions.map(|entry| entry.unwrap().path()).max().expect("Postgres is installed");
    format!("{}/bin/", newest.display())
}
