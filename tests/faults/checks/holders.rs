//! No two replicas at one object: from what the controllers logged when they began and ended each reconcile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::system::Process;
use crate::world::{API_SERVERS, Stop, World};

/// How long a process that stood still may take to find out that its lease is over.
const AWAKENING: Duration = Duration::from_millis(500);

/// A reconcile of one process.
#[derive(Clone, Debug)]
struct Turn {
    process: usize,
    epoch: i64,
    begun: SystemTime,
    ended: SystemTime,
}

/// An object as one controller sees it.
type Object = (String, String);

/// Checks the turns of all processes that have been.
pub async fn never_two_at_one_object(world: &World) {
    let mut turns = BTreeMap::<Object, Vec<Turn>>::new();
    for index in API_SERVERS..world.processes.len() {
        let process = world.processes[index].lock().await;
        read(&process, index, &mut turns);
    }
    assert!(!turns.is_empty(), "the controllers log no turns: this check proves nothing");
    let stops = world.stops.lock().expect("nobody panics with it").clone();
    for (object, mut turns) in turns {
        turns.sort_by_key(|turn| turn.begun);
        for pair in turns.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            assert!(first.epoch < second.epoch, "{object:?}: epochs go back: {first:?}, {second:?}");
            let is_over = first.ended <= second.begun || was_stopped(first, second.begun, &stops);
            assert!(is_over, "{object:?}: two at a time: {first:?}, {second:?}");
        }
    }
}

/// Whether the turn's process stood still when the next one began, and ended the turn as soon as it woke.
fn was_stopped(turn: &Turn, next: SystemTime, stops: &[Stop]) -> bool {
    let mut own = stops.iter().filter(|stop| stop.process == turn.process);
    own.any(|stop| stop.from <= next && next <= stop.to && turn.ended <= stop.to + AWAKENING)
}

fn read(process: &Process, index: usize, turns: &mut BTreeMap<Object, Vec<Turn>>) {
    let mut open = BTreeMap::<(Object, i64), SystemTime>::new();
    let mut last = SystemTime::UNIX_EPOCH;
    let log = process.log();
    for line in log.lines() {
        let Some(at) = line.split(' ').next().and_then(time) else { continue };
        if line.contains(": controllers started") {
            // The life before ended with its last line, at the latest.
            close(&mut open, index, last, turns);
        }
        last = at;
        let Some((_, said)) = line.split_once("controller::dispatch: ") else { continue };
        let Some(turn) = field(said, "object_id").zip(field(said, "controller")).zip(field(said, "epoch")) else {
            continue;
        };
        let ((object_id, controller), epoch) = turn;
        let object = (object_id.to_owned(), controller.to_owned());
        let key = (object.clone(), epoch.parse().expect("epochs are numbers"));
        if said.starts_with("begun") {
            open.insert(key, at);
        } else if let Some(begun) = open.remove(&key) {
            turns.entry(object).or_default().push(Turn { process: index, epoch: key.1, begun, ended: at });
        }
    }
    close(&mut open, index, last, turns);
}

fn close(
    open: &mut BTreeMap<(Object, i64), SystemTime>,
    process: usize,
    ended: SystemTime,
    turns: &mut BTreeMap<Object, Vec<Turn>>,
) {
    for ((object, epoch), begun) in std::mem::take(open) {
        turns.entry(object).or_default().push(Turn { process, epoch, begun, ended });
    }
}

fn time(text: &str) -> Option<SystemTime> {
    text.parse::<prost_types::Timestamp>().ok()?.try_into().ok()
}

/// The value of `name=value` or `name="value"`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}="))?;
    Some(rest.split(' ').next()?.trim_matches('"'))
}
