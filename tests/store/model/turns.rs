//! The model's queue: who looks at which instance, and what a look leaves behind.

use super::{Commit, Model, is_instance};

/// How many replicas of all controllers there are.
pub const REPLICAS: usize = 2;

/// What the queue and the status say of an instance; nothing ever happens to that of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether its controller has to look.
    pub is_due: bool,
    /// The generation that a look has seen to its end.
    pub observed_generation: i64,
    /// Whether a look has found it Ready.
    pub is_ready: bool,
    /// Since the last Begin.
    has_moved: bool,
    epoch: i64,
    holder: Option<usize>,
}

impl Work {
    pub fn of_new(slot: usize) -> Self {
        Self { is_due: is_instance(slot), ..Self::default() }
    }

    pub fn wake(&mut self) {
        (self.is_due, self.has_moved) = (true, true);
    }
}

/// What Begin handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub slot: usize,
    identity: u64,
    replica: usize,
    pub epoch: i64,
    pub is_deleting: bool,
}

impl Model {
    /// What Begin answers to a replica, and what it hands out.
    pub fn begin(&mut self, slot: usize, replica: usize) -> (&'static str, Option<Turn>) {
        let Some(known) = self.objects.get_mut(&slot) else { return ("gone", None) };
        if known.work.holder.is_some_and(|holder| holder != replica) {
            return ("busy", None);
        }
        if !known.work.is_due {
            return ("idle", None);
        }
        known.work.epoch += 1;
        (known.work.holder, known.work.has_moved) = (Some(replica), false);
        let (identity, epoch, is_deleting) = (known.identity, known.work.epoch, known.is_deleting);
        ("begun", Some(Turn { slot, identity, replica, epoch, is_deleting }))
    }

    /// Whether a Finish that says done and Ready (and, of a deleting object, that all is cleaned up) is accepted.
    pub fn finish(&mut self, turn: Turn) -> bool {
        let slot = turn.slot;
        let Some(known) = self.objects.get_mut(&slot).filter(|known| known.identity == turn.identity) else {
            return false;
        };
        let (work, generation) = (&mut known.work, known.generation);
        if (work.holder, work.epoch) != (Some(turn.replica), turn.epoch) {
            return false;
        }
        (work.holder, work.is_due, work.is_ready) = (None, work.has_moved, true);
        let mut commit = Commit::new();
        if !work.has_moved {
            work.observed_generation = generation;
            // What it no longer has is pruned: attachments that wait for that may go, and with a removed object they do.
            let going = self.users_of(slot).into_iter().filter(|user| self.objects[user].is_deleting);
            for attachment in going.collect::<Vec<_>>() {
                self.remove(attachment, &mut commit);
            }
            if turn.is_deleting {
                self.remove(slot, &mut commit);
            }
        }
        self.append(commit);
        true
    }

    /// Frees all that a replica holds; it comes back under another id.
    pub fn leave(&mut self, replica: usize) {
        let held = self.objects.values_mut().map(|known| &mut known.work).filter(|work| work.holder == Some(replica));
        for work in held {
            (work.holder, work.is_due) = (None, true);
        }
    }
}
