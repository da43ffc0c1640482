//! Looks at what every process shows of itself to others: its arguments and its environment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Spy {
    is_over: Arc<AtomicBool>,
    looking: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Processes that showed what nobody may.
    pub tellers: BTreeSet<String>,
    /// Runs of helm: without any, nothing was looked at.
    pub helms: BTreeSet<String>,
}

impl Spy {
    /// Looks for these texts until it is asked what it saw.
    pub fn on(secrets: Vec<String>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let looking = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                look(&secrets, &mut seen);
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { is_over, looking }
    }

    pub fn seen(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        self.looking.join().expect("looking doesn't fail")
    }
}

fn look(secrets: &[String], seen: &mut Seen) {
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        if secrets.iter().any(|secret| arguments.contains(secret) || environment.contains(secret)) {
            seen.tellers.insert(arguments.clone());
        }
        if arguments.contains("helm-child") {
            seen.helms.insert(arguments);
        }
    }
}
