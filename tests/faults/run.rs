//! One run: a load, faults, an end of the faults, checks, and the end of all that was made.

use std::fmt::{Display, Formatter};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::checks::{Before, Rest};
use crate::operation::Author;
use crate::random::Random;
use crate::scenario::Family;
use crate::system::MINUTE;
use crate::world::World;
use crate::{checks, client, schedule, watcher};

const CLIENTS: usize = 4;
/// A rest that was longer than this says what it waited for.
const LONG: Duration = Duration::from_secs(15);

pub struct Run {
    pub seed: u64,
    pub families: &'static [Family],
    pub operations: usize,
}

/// How long the parts of a run took.
pub struct Times {
    load: Duration,
    rest: Rest,
    checks: Duration,
    end: Duration,
}

impl Display for Times {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let [load, rest, checks, end] =
            [self.load, self.rest.took, self.checks, self.end].map(|part| part.as_secs_f64());
        let whole = load + rest + checks + end;
        write!(f, "{whole:.1} s (faults {load:.1}, to rest {rest:.1}, checks {checks:.1}, end {end:.1})")?;
        if self.rest.took > LONG { write!(f, "\n  it waited {}", self.rest.longest) } else { Ok(()) }
    }
}

impl Run {
    /// Panics at the first promise that was not kept.
    pub async fn carry_out(self, world: &Arc<World>) -> Times {
        let before = Before::note(world).await;
        let last = Arc::new(OnceLock::new());
        let mut watchers = JoinSet::new();
        for index in 0..watcher::WATCHERS {
            let random = Random::new(self.seed, &format!("watcher {index}"));
            watchers.spawn(watcher::watch(world.apis.clone(), random, before.position, last.clone()));
        }
        let mut clock = Clock(Instant::now());
        let mut books = self.load(world).await;
        self.keep_entries(world, &books);
        let load = clock.lap();
        let rest = checks::comes_to_rest(world).await;
        clock.lap();
        checks::equals_desired(world, &books).await;
        checks::writes_are_present_once(world, &books).await;
        let checks = clock.lap();
        client::delete_all(world, &mut books, self.seed).await;
        self.keep_entries(world, &books);
        checks::comes_to_rest(world).await;
        let end = world.database.number("SELECT max(position) FROM positions").await;
        last.set(end).expect("it is set once");
        let seen = tokio::time::timeout(MINUTE, watchers.join_all()).await.expect("watchers catch up");
        checks::log_is_sound(&world.database, &seen, before.position, end).await;
        checks::never_two_at_one_object(world).await;
        before.is_again(world).await;
        Times { load, rest, checks, end: clock.lap() }
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
        std::fs::write(world.folder.join(format!("faults-{}.log", self.seed)), story).expect("the folder is ours");
        books.into_iter().map(|book| book.unwrap_or_else(|_| panic!("a client found a promise broken"))).collect()
    }

    /// Keeps what was written when, for whoever looks into a failure.
    fn keep_entries(&self, world: &World, books: &[Book]) {
        let entries = books.iter().flat_map(|book| &book.entries).map(|entry| format!("{entry}\n"));
        let mut lines = entries.collect::<Vec<_>>();
        lines.sort_unstable();
        std::fs::write(world.folder.join(format!("writes-{}.log", self.seed)), lines.concat())
            .expect("the folder is ours");
    }
}

struct Clock(Instant);

impl Clock {
    /// The time since it was asked last.
    fn lap(&mut self) -> Duration {
        std::mem::replace(&mut self.0, Instant::now()).elapsed()
    }
}
