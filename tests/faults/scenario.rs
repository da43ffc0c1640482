//! The faults there are, in families; a scenario is a name for some of them.

use std::time::Duration;

use crate::cluster_link::Trouble;
use crate::kubernetes::Part;
use crate::random::Random;
use crate::world::{API_SERVERS, CONTROLLERS};

/// One thing that goes wrong, for as long as it says.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// kill -9 of a process of ours, started again after the pause with this plan of failpoints.
    Kill {
        process: usize,
        pause: Duration,
        failpoints: String,
    },
    Stop {
        process: usize,
        pause: Duration,
    },
    KillBroker(Duration),
    StopBroker(Duration),
    /// Killed, and all that it had stored is gone.
    LoseBroker(Duration),
    CutDatabase,
    CutAnswerAfter(i64),
    KillPostgres(Duration),
    StopPostgres(Duration),
    Cluster(Trouble, Duration),
    KillKubernetes(Part, Duration),
    StopKubernetes(Part, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Kills,
    Stops,
    /// Deaths and failures after Begin, after each external call, before and after Finish.
    Reconciles,
    /// Hints dropped, doubled, delayed.
    Hints,
    /// Serialization failures, and commits whose answer is lost.
    Commits,
    /// Deaths in the middle of a batch of positions, and after it.
    Sequencer,
    Broker,
    Database,
    Cluster,
}

use Family::{Broker, Cluster, Commits, Database, Hints, Kills, Reconciles, Sequencer, Stops};

/// By name; the first is the default.
pub const SCENARIOS: [(&str, &[Family]); 11] = [
    ("mix", &[Kills, Stops, Reconciles, Hints, Commits, Sequencer, Broker, Database, Cluster]),
    ("kills", &[Kills]),
    ("stops", &[Stops]),
    ("reconciles", &[Reconciles]),
    ("hints", &[Hints]),
    ("commits", &[Commits]),
    ("sequencer", &[Sequencer]),
    ("broker", &[Broker]),
    ("database", &[Database]),
    ("cluster", &[Cluster]),
    ("calm", &[]),
];

/// The families of a scenario.
pub fn families(name: &str) -> Result<&'static [Family], String> {
    let names = || SCENARIOS.map(|(name, _)| name).join(", ");
    let found = SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, families)| *families);
    found.ok_or_else(|| format!("no scenario `{name}`; choose one of {}", names()))
}

/// Faults of one lane come one after the other, so that none undoes another.
pub const LANES: [&[Family]; 4] =
    [&[Kills, Stops, Reconciles, Hints, Commits, Sequencer], &[Broker], &[Database], &[Cluster]];

impl Family {
    pub fn draw(self, random: &mut Random) -> Fault {
        match self {
            Kills => Fault::Kill { process: any(random), pause: random.millis(0, 1500), failpoints: String::new() },
            Stops => Fault::Stop { process: any(random), pause: stop(random) },
            Reconciles => {
                let point = random.pick(&["begin.after", "kubernetes.changed", "finish.before", "finish.after"]);
                let action = random.pick(&["abort", "abort", "error", "pause"]);
                armed(random, controllers, point, action)
            }
            Hints => {
                let point = random.pick(&["hint.publishing", "hint.published", "hint.received"]);
                let action = random.pick(&["error", "pause"]);
                let whose = if *point == "hint.received" { controllers } else { api_server };
                armed(random, whose, point, action)
            }
            Commits => {
                let (point, action) = random.pick(&[
                    ("store.committing", "error"),
                    ("store.committing", "pause"),
                    ("store.committed", "error"),
                    ("store.committed", "abort"),
                ]);
                armed(random, api_server, point, action)
            }
            Sequencer => {
                let point = random.pick(&["sequencer.positioning", "sequencer.positioned"]);
                let action = random.pick(&["abort", "abort", "error", "pause"]);
                armed(random, api_server, point, action)
            }
            Broker => match random.below(3) {
                0 => Fault::KillBroker(random.millis(100, 2000)),
                1 => Fault::StopBroker(random.millis(500, 3000)),
                _ => Fault::LoseBroker(random.millis(100, 2000)),
            },
            Database => match random.below(6) {
                0 => Fault::KillPostgres(random.millis(0, 1000)),
                1 => Fault::StopPostgres(random.millis(500, 2000)),
                2 | 3 => Fault::CutDatabase,
                _ => Fault::CutAnswerAfter(i64::try_from(random.below(200)).expect("it is small")),
            },
            Cluster => match random.below(10) {
                0 => Fault::KillKubernetes(Part::ApiServer, random.millis(0, 1000)),
                1 => Fault::StopKubernetes(Part::ApiServer, random.millis(500, 3000)),
                2 => Fault::Cluster(Trouble::Down, random.millis(500, 4000)),
                3 => Fault::Cluster(Trouble::Slow(random.millis(50, 1500)), random.millis(1000, 4000)),
                4 => Fault::Cluster(Trouble::LostAnswers, random.millis(500, 3000)),
                5 => Fault::Cluster(Trouble::HalfWatches, random.millis(1000, 3000)),
                6 => Fault::KillKubernetes(Part::Etcd, random.millis(0, 1000)),
                7 => Fault::StopKubernetes(Part::Etcd, random.millis(500, 3000)),
                _ => {
                    let code = *random.pick(&[409, 410, 429, 500]);
                    Fault::Cluster(Trouble::Refusal(code), random.millis(500, 3000))
                }
            },
        }
    }
}

fn any(random: &mut Random) -> usize {
    index(random, API_SERVERS + CONTROLLERS)
}

fn api_server(random: &mut Random) -> usize {
    index(random, API_SERVERS)
}

fn controllers(random: &mut Random) -> usize {
    API_SERVERS + index(random, CONTROLLERS)
}

fn index(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("there are few")
}

/// Half of the stops outlast a lease.
fn stop(random: &mut Random) -> Duration {
    if random.chance(50) { random.millis(200, 2000) } else { random.millis(4500, 7000) }
}

/// A process with a failpoint: one death, or some failures, at passes drawn among the first.
fn armed(random: &mut Random, whose: fn(&mut Random) -> usize, point: &str, action: &str) -> Fault {
    let (count, among) = if action == "abort" { (1, 20) } else { (10, 60) };
    let passes = (0..count).map(|_| (1 + random.below(among)).to_string()).collect::<Vec<_>>();
    let failpoints = format!("{point}={action}@{}", passes.join(","));
    Fault::Kill { process: whose(random), pause: Duration::ZERO, failpoints }
}
