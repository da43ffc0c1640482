//! A small store in memory: what the real one has to answer, to hold and to log.

mod turns;

use std::collections::{BTreeMap, BTreeSet};

/// Kind, project and name of the objects that there may be. What a variant of each refers to: see [`target`].
pub const SLOTS: [(&str, &str, &str); 7] = [
    ("workload-definition", "default", "d-0"),
    ("workload-definition", "default", "d-1"),
    ("workload-instance", "default", "i-0"),
    ("workload-instance", "default", "i-1"),
    ("workload-instance", "shop", "i-0"),
    ("attachment", "default", "a-0"),
    ("attachment", "default", "a-1"),
];
pub const VARIANTS: usize = 4;

/// The slot that a variant of an object uses: instances a definition, attachments an instance of their project.
pub fn target(slot: usize, variant: usize) -> Option<usize> {
    match slot {
        0 | 1 => None,
        2..=4 => Some(variant % 2),
        _ => Some(2 + variant % 2),
    }
}

pub fn is_instance(slot: usize) -> bool {
    SLOTS[slot].0 == "workload-instance"
}

/// An object as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub slot: usize,
    pub variant: usize,
    /// Of a definition: with the other project.
    pub is_shared: bool,
    /// Of an instance: the generation of its definition that it stays with.
    pub pin: Option<i64>,
    pub revision: Option<i64>,
}

impl Content {
    /// The same for another slot, as far as that has it.
    pub fn of(self, slot: usize) -> Self {
        Self { slot, pin: self.pin.filter(|_| is_instance(slot)), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Apply,
    Create,
    /// Of the spec alone.
    Update,
}

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Tells a re-created object from the one before.
    identity: u64,
    pub variant: usize,
    pub is_shared: bool,
    pub pin: Option<i64>,
    pub revision: i64,
    pub generation: i64,
    pub is_deleting: bool,
    pub work: Work,
}

pub use turns::{REPLICAS, Turn, Work};

/// Type, slot, revision, generation; sorted within their commit.
pub type Commit = Vec<(&'static str, usize, i64, i64)>;

/// What may be wrong with a request; the store names one of them.
pub type Faults = BTreeSet<&'static str>;

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub objects: BTreeMap<usize, Known>,
    pub log: Vec<Commit>,
    identities: u64,
}

impl Model {
    pub fn write(&mut self, mode: Mode, contents: &[Content]) -> Result<Vec<&'static str>, Faults> {
        let mut faults = contents.iter().filter_map(|content| self.refusal(mode, content)).collect::<Faults>();
        faults.extend(contents.iter().filter(|content| !self.can_use(content, contents)).map(|_| "Invalid"));
        if faults.is_empty() && mode != Mode::Update && contents.iter().any(|content| self.narrows(content, contents)) {
            faults.insert("InUse");
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut commit = Commit::new();
        let outcomes = contents.iter().map(|content| self.store(mode, content, &mut commit)).collect();
        self.append(commit);
        Ok(outcomes)
    }

    fn refusal(&self, mode: Mode, content: &Content) -> Option<&'static str> {
        match self.objects.get(&content.slot) {
            None if mode == Mode::Update => Some("NotFound"),
            None => content.revision.map(|_| "Stale"),
            Some(known) if known.is_deleting => Some("BeingDeleted"),
            Some(_) if mode == Mode::Create => Some("AlreadyExists"),
            Some(known) => content.revision.filter(|revision| *revision != known.revision).map(|_| "Stale"),
        }
    }

    /// Whether what the content refers to is there, written by the same request or before, and shared if it has to be. An
    /// attachment keeps its target.
    fn can_use(&self, content: &Content, contents: &[Content]) -> bool {
        let Some(used) = target(content.slot, content.variant) else { return true };
        let aims_elsewhere =
            |known: &Known| SLOTS[content.slot].0 == "attachment" && target(content.slot, known.variant) != Some(used);
        if self.objects.get(&content.slot).is_some_and(aims_elsewhere) {
            return false;
        }
        if content.pin.is_some_and(|pin| pin > self.generation_after(used, contents)) {
            return false;
        }
        let needs_sharing = SLOTS[content.slot].1 != SLOTS[used].1;
        match (contents.iter().find(|other| other.slot == used), self.objects.get(&used)) {
            (Some(written), _) => written.is_shared || !needs_sharing,
            (None, Some(known)) => !known.is_deleting && (known.is_shared || !needs_sharing),
            (None, None) => false,
        }
    }

    /// The generation that a definition has when all of it is written.
    fn generation_after(&self, slot: usize, contents: &[Content]) -> i64 {
        let written = contents.iter().find(|content| content.slot == slot);
        let is_changed = |known: &Known| written.is_some_and(|written| written.variant != known.variant);
        self.objects.get(&slot).map_or(1, |known| known.generation + i64::from(is_changed(known)))
    }

    /// The generations of definitions that are kept: those that instances stay with.
    pub fn pinned(&self) -> BTreeSet<(usize, i64)> {
        let pin = |(slot, known): (&usize, &Known)| Some((target(*slot, known.variant)?, known.pin?));
        self.objects.iter().filter_map(pin).collect()
    }

    /// Whether an object of the other project uses what it no longer might.
    fn narrows(&self, content: &Content, contents: &[Content]) -> bool {
        let was_shared = self.objects.get(&content.slot).is_some_and(|known| known.is_shared);
        let uses = |slot: usize, variant| {
            SLOTS[slot].1 != SLOTS[content.slot].1 && target(slot, variant) == Some(content.slot)
        };
        let stored = self.objects.iter().filter(|(slot, _)| contents.iter().all(|written| written.slot != **slot));
        let mut users = stored.map(|(slot, known)| (*slot, known.variant));
        was_shared
            && !content.is_shared
            && (users.any(|(slot, variant)| uses(slot, variant))
                || contents.iter().any(|written| uses(written.slot, written.variant)))
    }

    fn store(&mut self, mode: Mode, content: &Content, commit: &mut Commit) -> &'static str {
        let slot = content.slot;
        let Some(known) = self.objects.get_mut(&slot) else {
            self.identities += 1;
            let known = Known {
                identity: self.identities,
                variant: content.variant,
                is_shared: content.is_shared,
                pin: content.pin,
                revision: 1,
                generation: 1,
                is_deleting: false,
                work: Work::of_new(slot),
            };
            self.objects.insert(slot, known);
            commit.push(("created", slot, 1, 1));
            self.wake_concerned(slot, content.variant);
            return "created";
        };
        let (before, is_shared) =
            (known.clone(), if mode == Mode::Update { known.is_shared } else { content.is_shared });
        let is_spec_changed = (before.variant, before.pin) != (content.variant, content.pin);
        if !is_spec_changed && before.is_shared == is_shared {
            return "unchanged";
        }
        known.revision += 1;
        known.generation += i64::from(is_spec_changed);
        (known.variant, known.is_shared, known.pin) = (content.variant, is_shared, content.pin);
        commit.push((if is_spec_changed { "spec" } else { "meta" }, slot, known.revision, known.generation));
        if is_spec_changed {
            self.wake(slot);
            self.wake_concerned(slot, before.variant);
            self.wake_concerned(slot, content.variant);
        }
        "updated"
    }

    /// Who looks again when an object's spec changes: users of a definition, what an attachment is aimed at.
    fn wake_concerned(&mut self, slot: usize, variant: usize) {
        if let Some(aimed) = target(slot, variant).filter(|_| SLOTS[slot].0 == "attachment") {
            self.wake(aimed);
        }
        for user in self.users_of(slot) {
            self.wake(user);
        }
    }

    fn wake(&mut self, slot: usize) {
        if let Some(known) = self.objects.get_mut(&slot).filter(|_| is_instance(slot)) {
            known.work.wake();
        }
    }

    fn users_of(&self, slot: usize) -> Vec<usize> {
        let users = self.objects.iter().filter(|(user, known)| target(**user, known.variant) == Some(slot));
        users.map(|(user, _)| *user).collect()
    }

    pub fn delete(&mut self, slot: usize) -> Result<(), Faults> {
        let Some(known) = self.objects.get(&slot) else { return Err(Faults::from(["NotFound"])) };
        if self.users_of(slot).iter().any(|user| !self.objects[user].is_deleting) {
            return Err(Faults::from(["InUse"]));
        }
        let mut commit = Commit::new();
        if !known.is_deleting {
            let variant = known.variant;
            let known = self.objects.get_mut(&slot).expect("it was there a moment ago");
            known.is_deleting = true;
            known.revision += 1;
            commit.push(("deleting", slot, known.revision, known.generation));
            self.wake(slot);
            if SLOTS[slot].0 == "attachment" {
                self.wake_concerned(slot, variant);
            }
            self.collect(slot, &mut commit);
        }
        self.append(commit);
        Ok(())
    }

    /// Removes a deleting definition that nobody uses any more.
    fn collect(&mut self, slot: usize, commit: &mut Commit) {
        let is_going = self.objects.get(&slot).is_some_and(|known| known.is_deleting);
        if is_going && SLOTS[slot].0 == "workload-definition" && self.users_of(slot).is_empty() {
            self.remove(slot, commit);
        }
    }

    fn remove(&mut self, slot: usize, commit: &mut Commit) {
        let known = self.objects.remove(&slot).expect("only what is there is removed");
        commit.push(("removed", slot, known.revision + 1, known.generation));
        if let Some(used) = target(slot, known.variant) {
            self.collect(used, commit);
        }
    }

    fn append(&mut self, mut commit: Commit) {
        if !commit.is_empty() {
            commit.sort_unstable();
            self.log.push(commit);
        }
    }
}
