//! Many replicas of one controller: never two at one object, and one that hangs delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use threeport_sdk::controller::{Context, Error, Next, Reconciler, Runner, RunnerConfig};
use tokio_util::sync::CancellationToken;

use crate::system::*;

/// What the replicas of a test did.
#[derive(Default)]
struct Diary {
    /// Who is reconciling what now.
    at_work: BTreeMap<String, usize>,
    /// Objects that two reconciled at the same time.
    clashes: BTreeSet<String>,
    /// How often each replica reconciled.
    turns: BTreeMap<usize, usize>,
}

/// Takes its time, and forever for an object whose color is `hang`.
struct Slow {
    replica: usize,
    diary: Arc<Mutex<Diary>>,
}

/// Leaves the diary when dropped: a cancelled reconcile has ended, too.
struct Entry<'a>(&'a Slow, String);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.diary.lock().unwrap().at_work.remove(&self.1);
    }
}

impl Reconciler for Slow {
    type Object = Widget;
    const CONTROLLER: &'static str = "widget";

    async fn reconcile(&self, context: &mut Context<Widget>) -> Result<Next, Error> {
        let name = context.object.meta.name.clone();
        {
            let mut diary = self.diary.lock().unwrap();
            *diary.turns.entry(self.replica).or_default() += 1;
            if diary.at_work.insert(name.clone(), self.replica).is_some() {
                diary.clashes.insert(name.clone());
            }
        }
        let _entry = Entry(self, name);
        if context.object.spec["color"] == "hang" {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        context.condition("Ready", true, "Done", "");
        Ok(Next::Done)
    }

    async fn cleanup(&self, _context: &mut Context<Widget>) -> Result<Next, Error> {
        Ok(Next::Done)
    }
}

/// Starts a replica; it is told to stop by the token.
fn start(system: &System, replica: usize, diary: &Arc<Mutex<Diary>>, concurrency: usize) -> CancellationToken {
    let shutdown = CancellationToken::new();
    let config = RunnerConfig { concurrency, ..RunnerConfig::default() };
    let slow = Slow { replica, diary: Arc::clone(diary) };
    let runner = Runner::new(system.widget_client(), Some(system.broker.url.clone()), config).add(slow);
    tokio::spawn(runner.run(shutdown.clone()));
    shutdown
}

fn widgets(color: &str) -> Vec<serde_json::Value> {
    (0..20).map(|number| document("widget", &format!("w-{number}"), json!({ "color": color }))).collect()
}

async fn all_ready(system: &System) {
    eventually("all widgets are done", MINUTE, async || {
        let widgets = system.api.list("widget").await;
        let open = widgets.iter().filter(|widget| {
            let observed = widget["status"]["observed_generation"].as_str() != widget["meta"]["generation"].as_str();
            widget["spec"]["color"] != "hang" && (observed || condition(widget, "Ready")["status"] != "True")
        });
        let open = open.map(|widget| widget["meta"]["name"].to_string()).collect::<Vec<_>>();
        when(open.is_empty(), format!("{open:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_never_reconcile_one_object_at_the_same_time() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    system.api.apply(&[widget_kind()]).await.unwrap();
    let diary = Arc::default();
    let mut replicas = (0..3).map(|replica| start(&system, replica, &diary, 8)).collect::<Vec<_>>();
    for round in 0..30 {
        system.api.apply(&widgets(&format!("color-{round}"))).await.unwrap();
        if round == 15 {
            // One leaves and another one comes, in the middle of it.
            replicas.remove(0).cancel();
            replicas.push(start(&system, 3, &diary, 8));
        }
    }
    all_ready(&system).await;
    let diary = diary.lock().unwrap();
    assert!(diary.clashes.is_empty(), "two replicas at {:?}", diary.clashes);
    assert!(diary.turns.len() == 4, "not all replicas took part: {:?}", diary.turns);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_that_hangs_delays_no_other_object_of_its_kind() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    system.api.apply(&[widget_kind()]).await.unwrap();
    let diary: Arc<Mutex<Diary>> = Arc::default();
    let _replica = start(&system, 0, &diary, 4);
    let hangs = ["x", "y"].map(|name| document("widget", name, json!({ "color": "hang" })));
    system.api.apply(&hangs).await.unwrap();
    eventually("both hang", MINUTE, async || {
        let at_work = diary.lock().unwrap().at_work.len();
        when(at_work == 2, at_work)
    })
    .await;
    for color in ["red", "blue"] {
        system.api.apply(&widgets(color)).await.unwrap();
        all_ready(&system).await;
    }
    assert_eq!(diary.lock().unwrap().at_work.len(), 2, "they no longer hang: the test proves nothing");
}
