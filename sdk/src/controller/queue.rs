//! The local queue: bounded, each object once, projects in turn, gates capped.
//!
//! A hint names an object but neither its project nor its gate; both are learned from the object's last Begin. Objects
//! that were never begun here share one lane, which takes its turn like a project. An object that turns out to be over
//! its gate's cap only after Begin is put back with Finish, once: from then on it waits here without costing a call.

use std::collections::{HashMap, VecDeque};

/// An object as one controller sees it; controllers are counted in the order that they were added to the runner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub controller: usize,
    pub object_id: String,
}

/// What became of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// It waits already, or runs and will be looked at again.
    Known,
    /// To be offered again later: there is no place left, or too much waits for the same gate.
    Full,
}

/// What one gate may take of the places: one dead cluster leaves room for the others.
const SHARE: usize = 4;
/// Forgotten beyond this many; what is forgotten is learned again.
const LEARNED: usize = 100_000;

#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    per_gate: usize,
    states: HashMap<Key, State>,
    /// What waits, by project.
    lanes: HashMap<String, VecDeque<Key>>,
    /// Projects with a lane, in the order of their turns.
    turns: VecDeque<String>,
    waiting: usize,
    learned: HashMap<Key, Learned>,
    /// How many run behind each gate.
    gates: HashMap<String, usize>,
    /// How many wait for each gate.
    gated: HashMap<String, usize>,
}

#[derive(Debug)]
enum State {
    Waiting { gate: Option<String> },
    Running { again: bool, gate: Option<String> },
}

#[derive(Clone, Debug, Default)]
struct Learned {
    project: String,
    gate: Option<String>,
}

impl Queue {
    pub fn new(capacity: usize, per_gate: usize) -> Self {
        Self {
            capacity,
            per_gate,
            states: HashMap::new(),
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            learned: HashMap::new(),
            gates: HashMap::new(),
            gated: HashMap::new(),
        }
    }

    /// How many more can wait.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.waiting)
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn running(&self) -> usize {
        self.states.len() - self.waiting
    }

    pub fn push(&mut self, key: Key) -> Pushed {
        let is_full = self.waiting >= self.capacity || self.is_crowded(&key);
        match self.states.get_mut(&key) {
            Some(State::Waiting { .. }) => Pushed::Known,
            Some(State::Running { again, .. }) => {
                *again = true;
                Pushed::Known
            }
            None if is_full => Pushed::Full,
            None => {
                self.enqueue(key);
                Pushed::Queued
            }
        }
    }

    /// Takes up to `most` objects, a project at a time; they run from now on.
    pub fn take(&mut self, most: usize) -> Vec<Key> {
        let mut taken = Vec::new();
        let mut misses = 0;
        while taken.len() < most && misses < self.turns.len() {
            let Some(project) = self.turns.pop_front() else { break };
            match self.take_from(&project) {
                Some(key) => {
                    taken.push(key);
                    misses = 0;
                }
                None => misses += 1,
            }
            if self.lanes.get(&project).is_some_and(|lane| !lane.is_empty()) {
                self.turns.push_back(project);
            } else {
                self.lanes.remove(&project);
            }
        }
        taken
    }

    /// Learns what Begin told of a running object; false if its gate has no room: put it back.
    pub fn begun(&mut self, key: &Key, project: &str, gate: Option<String>) -> bool {
        if self.learned.len() >= LEARNED {
            self.learned.clear();
        }
        self.learned.insert(key.clone(), Learned { project: project.to_owned(), gate: gate.clone() });
        let Some(State::Running { gate: reserved, .. }) = self.states.get_mut(key) else { return false };
        if *reserved == gate {
            return true;
        }
        let before = reserved.take();
        release(&mut self.gates, before);
        if !has_room(&self.gates, self.per_gate, gate.as_ref()) {
            return false;
        }
        if let Some(State::Running { gate: reserved, .. }) = self.states.get_mut(key) {
            reserve(&mut self.gates, gate.as_ref());
            *reserved = gate;
        }
        true
    }

    /// Ends a running object's turn; what was hinted meanwhile waits again.
    pub fn ended(&mut self, key: &Key) {
        let Some(State::Running { again, gate }) = self.states.remove(key) else { return };
        release(&mut self.gates, gate);
        if again {
            self.enqueue(key.clone());
        }
    }

    fn is_crowded(&self, key: &Key) -> bool {
        let gate = self.learned.get(key).and_then(|learned| learned.gate.as_ref());
        !has_room(&self.gated, (self.capacity / SHARE).max(1), gate)
    }

    fn enqueue(&mut self, key: Key) {
        let Learned { project, gate } = self.learned.get(&key).cloned().unwrap_or_default();
        reserve(&mut self.gated, gate.as_ref());
        if !self.lanes.contains_key(&project) {
            self.turns.push_back(project.clone());
        }
        self.lanes.entry(project).or_default().push_back(key.clone());
        self.states.insert(key, State::Waiting { gate });
        self.waiting += 1;
    }

    /// The first of a lane whose gate has room.
    fn take_from(&mut self, project: &str) -> Option<Key> {
        let (learned, gates, per_gate) = (&self.learned, &self.gates, self.per_gate);
        let gate_of = |key: &Key| learned.get(key).and_then(|learned| learned.gate.as_ref());
        let lane = self.lanes.get_mut(project)?;
        let place = lane.iter().position(|key| has_room(gates, per_gate, gate_of(key)))?;
        let key = lane.remove(place)?;
        let gate = gate_of(&key).cloned();
        reserve(&mut self.gates, gate.as_ref());
        if let Some(State::Waiting { gate }) = self.states.insert(key.clone(), State::Running { again: false, gate }) {
            release(&mut self.gated, gate);
        }
        self.waiting -= 1;
        Some(key)
    }
}

fn has_room(gates: &HashMap<String, usize>, per_gate: usize, gate: Option<&String>) -> bool {
    gate.is_none_or(|gate| gates.get(gate).is_none_or(|running| *running < per_gate))
}

fn reserve(gates: &mut HashMap<String, usize>, gate: Option<&String>) {
    if let Some(gate) = gate {
        *gates.entry(gate.clone()).or_default() += 1;
    }
}

fn release(gates: &mut HashMap<String, usize>, gate: Option<String>) {
    let Some(gate) = gate else { return };
    if let Some(running) = gates.get_mut(&gate) {
        *running -= 1;
        if *running == 0 {
            gates.remove(&gate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(object_id: &str) -> Key {
        Key { controller: 0, object_id: object_id.into() }
    }

    fn ids(keys: Vec<Key>) -> Vec<String> {
        keys.into_iter().map(|key| key.object_id).collect()
    }

    /// Lets a queue learn project and gate of an object, as a first reconcile does.
    fn learn(queue: &mut Queue, id: &str, project: &str, gate: Option<&str>) {
        queue.push(key(id));
        assert_eq!(ids(queue.take(1)), [id]);
        queue.begun(&key(id), project, gate.map(str::to_owned));
        queue.ended(&key(id));
    }

    #[test]
    fn an_object_waits_once_and_is_looked_at_again_after_a_hint_while_it_runs() {
        let mut queue = Queue::new(10, 10);
        assert_eq!(queue.push(key("a")), Pushed::Queued);
        assert_eq!(queue.push(key("a")), Pushed::Known);
        assert_eq!(ids(queue.take(10)), ["a"]);
        assert_eq!(queue.push(key("a")), Pushed::Known);
        assert!(queue.take(10).is_empty());
        queue.ended(&key("a"));
        assert_eq!(ids(queue.take(10)), ["a"]);
        queue.ended(&key("a"));
        assert_eq!((queue.waiting(), queue.running()), (0, 0));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut queue = Queue::new(1, 10);
        queue.push(key("a"));
        assert_eq!((queue.push(key("b")), queue.room()), (Pushed::Full, 0));
        queue.take(1);
        assert_eq!(queue.push(key("b")), Pushed::Queued);
    }

    #[test]
    fn projects_take_turns() {
        let mut queue = Queue::new(10, 10);
        for (id, project) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c")] {
            learn(&mut queue, id, project, None);
        }
        for id in ["a1", "a2", "a3", "b1", "c1"] {
            queue.push(key(id));
        }
        assert_eq!(ids(queue.take(10)), ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn a_full_gate_holds_back_its_own_alone() {
        let mut queue = Queue::new(10, 1);
        for (id, gate) in [("a", "dead"), ("b", "dead"), ("c", "well")] {
            learn(&mut queue, id, "p", Some(gate));
        }
        for id in ["a", "b", "c"] {
            queue.push(key(id));
        }
        assert_eq!(ids(queue.take(10)), ["a", "c"]);
        assert_eq!(queue.waiting(), 1);
        queue.ended(&key("a"));
        assert_eq!(ids(queue.take(10)), ["b"]);
    }

    #[test]
    fn what_waits_for_one_gate_leaves_places_for_the_rest() {
        let mut queue = Queue::new(8, 1);
        let dead = ["a", "b", "c", "d"];
        for id in dead {
            learn(&mut queue, id, "p", Some("dead"));
        }
        let pushed = dead.map(|id| queue.push(key(id)));
        assert_eq!(pushed, [Pushed::Queued, Pushed::Queued, Pushed::Full, Pushed::Full]);
        assert_eq!(queue.push(key("e")), Pushed::Queued);
        assert_eq!(ids(queue.take(10)), ["a", "e"]);
        assert_eq!(queue.push(key("c")), Pushed::Queued);
    }

    #[test]
    fn a_gate_learned_from_begin_counts() {
        let mut queue = Queue::new(10, 1);
        queue.push(key("a"));
        queue.push(key("b"));
        assert_eq!(queue.take(2).len(), 2);
        assert!(queue.begun(&key("a"), "p", Some("g".into())));
        assert!(!queue.begun(&key("b"), "p", Some("g".into())));
        queue.ended(&key("b"));
        queue.push(key("b"));
        assert!(queue.take(1).is_empty(), "it waits until the gate opens");
        queue.ended(&key("a"));
        assert_eq!(ids(queue.take(1)), ["b"]);
    }
}
