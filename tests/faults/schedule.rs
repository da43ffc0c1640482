//! Lets the faults of a scenario happen: in each lane a sequence from the seed, until the clients are done or it is enough.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use crate::random::Random;
use crate::scenario::{Family, Fault, LANES};
use crate::world::World;

/// How often ended processes are looked for.
const REVIVAL: Duration = Duration::from_millis(200);

/// No fault begins later: what goes on amid faults without an end proves nothing more.
const LAST: Duration = Duration::from_secs(15);

/// Lets faults happen until `stop`, undoes them all, and returns what happened when.
pub async fn run(world: &World, seed: u64, families: &[Family], stop: CancellationToken) -> String {
    let started = Instant::now();
    let lanes = LANES.iter().enumerate().map(|(index, lane)| {
        let families = lane.iter().filter(|family| families.contains(family)).copied().collect();
        lane_of(world, families, Random::new(seed, &format!("lane {index}")), started, &stop)
    });
    let reviving = async {
        loop {
            world.revive();
            tokio::time::sleep(REVIVAL).await;
        }
    };
    let stories: Vec<String> = tokio::select! {
        stories = futures::future::join_all(lanes) => stories,
        () = reviving => unreachable!("reviving never ends"),
    };
    world.heal().await;
    stories.concat()
}

async fn lane_of(
    world: &World,
    families: Vec<Family>,
    mut random: Random,
    started: Instant,
    stop: &CancellationToken,
) -> String {
    let mut story = String::new();
    loop {
        if families.is_empty() || started.elapsed() > LAST {
            return story;
        }
        let pause = random.millis(200, 2500);
        if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
            return story;
        }
        let fault = random.pick(&families).draw(&mut random);
        let now = prost_types::Timestamp::from(SystemTime::now());
        writeln!(story, "{now} {fault:?}").expect("strings take all that is written");
        inject(world, fault).await;
    }
}

async fn inject(world: &World, fault: Fault) {
    match fault {
        Fault::Kill { process, pause, failpoints } => world.kill(process, pause, &failpoints).await,
        Fault::Stop { process, pause } => world.stop(process, pause).await,
        Fault::KillBroker(pause) => {
            let mut broker = world.broker.lock().await;
            broker.kill();
            tokio::time::sleep(pause).await;
            broker.start_again().await;
        }
        Fault::StopBroker(pause) => {
            let broker = world.broker.lock().await;
            let id = Pid::from_raw(i32::try_from(broker.id()).expect("process ids are small"));
            kill(id, Signal::SIGSTOP).expect("it runs");
            tokio::time::sleep(pause).await;
            kill(id, Signal::SIGCONT).expect("it stands still");
        }
        Fault::LoseBroker(pause) => {
            let mut broker = world.broker.lock().await;
            broker.lose();
            tokio::time::sleep(pause).await;
            broker.start_again().await;
        }
        Fault::CutDatabase => world.database_link.cut(),
        Fault::CutAnswerAfter(answers) => world.database_link.cut_answer_after(answers),
        Fault::KillPostgres(pause) => world.ground.kill_postgres(pause).await,
        Fault::StopPostgres(pause) => world.ground.stop_postgres(pause).await,
        Fault::Cluster(trouble, pause) => {
            world.cluster_link.set(Some(trouble));
            tokio::time::sleep(pause).await;
            world.cluster_link.set(None);
        }
        Fault::KillKubernetes(part, pause) => world.ground.kubernetes.kill(part, pause).await,
        Fault::StopKubernetes(part, pause) => world.ground.kubernetes.stop(part, pause).await,
    }
}
