//! One run: a load, faults, an end of the faults, checks, and the end of all that was made.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::ground::Ground;
use crate::operation::Author;
use crate::random::Random;
use crate::scenario::Family;
use crate::system::{MINUTE, eventually};
use crate::world::World;
use crate::{checks, client, schedule, watcher};

const CLIENTS: usize = 4;

pub struct Run {
    pub seed: u64,
    pub families: &'static [Family],
    pub operations: usize,
    pub folder: PathBuf,
}

impl Run {
    /// Panics at the first promise that was not kept; returns how long it took to come to rest after the last fault.
    pub async fn carry_out(self, ground: Arc<Ground>) -> Duration {
        let before = checks::contents(&ground.cluster).await;
        let world = Arc::new(World::start(ground.clone(), &self.folder).await);
        let last = Arc::new(OnceLock::new());
        let mut watchers = JoinSet::new();
        for index in 0..watcher::WATCHERS {
            let random = Random::new(self.seed, &format!("watcher {index}"));
            watchers.spawn(watcher::watch(world.apis.clone(), random, last.clone()));
        }
        let mut books = self.load(&world).await;

        let healed = Instant::now();
        checks::comes_to_rest(&world).await;
        let rest = healed.elapsed();
        checks::equals_desired(&world, &books).await;
        checks::writes_are_present_once(&world, &books).await;
        let endings = books.iter_mut().enumerate().map(|(index, book)| client::delete_all(&world, book, index));
        futures::future::join_all(endings).await;
        checks::comes_to_rest(&world).await;
        let end = world.database.number("SELECT max(position) FROM positions").await;
        last.set(end).expect("it is set once");
        let seen = tokio::time::timeout(MINUTE, watchers.join_all()).await.expect("watchers catch up");
        checks::log_is_sound(&world.database, &seen, end).await;
        checks::never_two_at_one_object(&world).await;
        eventually("the cluster is as it was before", MINUTE, async || {
            checks::nothing_else(&before, &checks::contents(&ground.cluster).await)
        })
        .await;
        rest
    }

    /// Lets the clients write amid faults; returns when both are over.
    async fn load(&self, world: &Arc<World>) -> Vec<Book> {
        let stop = CancellationToken::new();
        let clients = (0..CLIENTS).map(|client| {
            let author = Author { seed: self.seed, client };
            tokio::spawn(client::run(world.clone(), author, self.operations))
        });
        let clients = clients.collect::<Vec<_>>();
        let writing = async {
            let books = futures::future::join_all(clients).await;
            stop.cancel();
            books
        };
        let faults = schedule::run(world, self.seed, self.families, stop.clone());
        let (books, story) = tokio::join!(writing, faults);
        std::fs::write(self.folder.join("faults.log"), story).expect("the folder is ours");
        books.into_iter().map(|book| book.unwrap_or_else(|_| panic!("a client found a promise broken"))).collect()
    }
}
