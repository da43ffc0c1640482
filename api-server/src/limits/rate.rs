//! How often one identity may call: a bucket each, that fills as time goes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A caller that was away may catch up on this much at once.
const BURST: Duration = Duration::from_secs(2);

/// The buckets. There are no more than identities that tokens name.
#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    calls: f64,
    filled_at: Instant,
}

impl Rates {
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// With the time after which there is room for it.
    pub fn take(&self, identity: &str, now: Instant) -> Result<(), Duration> {
        let full = (self.per_second * BURST.as_secs_f64()).max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(identity) {
            buckets.insert(identity.to_owned(), Bucket { calls: full, filled_at: now });
        }
        let Some(bucket) = buckets.get_mut(identity) else { return Ok(()) };
        let gained = now.saturating_duration_since(bucket.filled_at).as_secs_f64() * self.per_second;
        bucket.calls = (bucket.calls + gained).min(full);
        bucket.filled_at = bucket.filled_at.max(now);
        if bucket.calls < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.calls) / self.per_second));
        }
        bucket.calls -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again_and_others_have_their_own() {
        let (rates, start) = (Rates::new(10), Instant::now());
        for call in 0..20 {
            assert_eq!(rates.take("user:a", start), Ok(()), "call {call}");
        }
        assert_eq!(rates.take("user:a", start), Err(Duration::from_millis(100)));
        assert_eq!(rates.take("user:b", start), Ok(()));
        let later = start + Duration::from_millis(250);
        assert_eq!([rates.take("user:a", later), rates.take("user:a", later)], [Ok(()), Ok(())]);
        assert!(rates.take("user:a", later).is_err());
        // However long it was away, no more than the burst.
        let much_later = start + Duration::from_hours(1);
        assert_eq!((0..100).filter(|_| rates.take("user:a", much_later).is_ok()).count(), 20);
    }
}
