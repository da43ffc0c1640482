//! How soon to begin a list or a watch again, by how long the last one lasted. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(10);
/// What lasts this long has worked.
const WORKS: Duration = Duration::from_secs(5);

/// Counts what ended at once: a proxy, or an API server on its way out, may end every watch so.
#[derive(Debug, Default)]
pub struct Pace {
    short: u32,
}

impl Pace {
    /// The pause after something that lasted this long.
    pub fn pause(&mut self, lasted: Duration) -> Duration {
        if lasted >= WORKS {
            self.short = 0;
            return Duration::ZERO;
        }
        self.short = self.short.saturating_add(1);
        FIRST.saturating_mul(2_u32.saturating_pow(self.short - 1)).min(LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_end_at_once_are_begun_again_ever_more_slowly() {
        let mut pace = Pace::default();
        let pauses = (0..20).map(|_| pace.pause(Duration::ZERO)).collect::<Vec<_>>();
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses[19], LAST);
    }

    #[test]
    fn a_watch_that_lasted_is_begun_again_at_once() {
        let mut pace = Pace::default();
        pace.pause(Duration::ZERO);
        assert_eq!(pace.pause(WORKS), Duration::ZERO);
        assert_eq!(pace.pause(Duration::ZERO), FIRST);
    }
}
