//! Waits that double, with jitter, so that many clients don't come back at once.

use std::time::Duration;

/// Yields waits between half of a doubling ceiling and the whole of it.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (ceiling * 2).min(self.cap);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins again: something worked.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for ceiling in [100, 200, 300, 300] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(ceiling / 2) && wait <= Duration::from_millis(ceiling), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
