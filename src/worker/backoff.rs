//! When to try again, and how often to complain. No PostgreSQL in here, so that it can be
//! tested by itself.

use std::time::{Duration, Instant};

/// A wait that doubles with each failure, between two bounds.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    pub const fn new(min: Duration, max: Duration) -> Self {
        Backoff { min, max, failures: 0, not_before: None }
    }

    /// One more failure: nothing may be tried before the returned moment.
    pub fn failed(&mut self, now: Instant) -> Instant {
        let delay = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let until = now + delay;
        self.not_before = Some(until);
        until
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// How long it is still too early; `None` when it may be tried now.
    pub fn too_early(&self, now: Instant) -> Option<Duration> {
        self.not_before.map(|t| t.saturating_duration_since(now)).filter(|d| !d.is_zero())
    }
}

/// Lets one through in each interval.
#[derive(Clone, Debug)]
pub struct Throttle {
    interval: Duration,
    last: Option<Instant>,
}

impl Throttle {
    pub const fn new(interval: Duration) -> Self {
        Throttle { interval, last: None }
    }

    /// How long it is still too early.
    pub fn too_early(&self, now: Instant) -> Option<Duration> {
        self.last.map(|t| (t + self.interval).saturating_duration_since(now)).filter(|d| !d.is_zero())
    }

    /// True, and counted, when the last one is long enough ago.
    pub fn pass(&mut self, now: Instant) -> bool {
        let free = self.too_early(now).is_none();
        if free {
            self.last = Some(now);
        }
        free
    }

    /// The next one may pass at once.
    pub fn free(&mut self) {
        self.last = None;
    }

    /// What took `spent` comes again after twenty times as long: a twentieth of a processor
    /// at most, however large the tables are. Never sooner than `least`.
    pub fn widen(&mut self, spent: Duration, least: Duration) {
        self.interval = spent.saturating_mul(20).max(least);
    }
}

/// How long to sleep until a moment that is `micros` away: no less, for waking a little too early would mean looking in
/// vain.
pub fn sleep_until(micros: i64, longest: Duration) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn backoff_doubles_up_to_its_bound_and_starts_again() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SECOND, MINUTE);
        assert_eq!(backoff.too_early(start), None);
        let waits: Vec<u64> = (0..9).map(|_| (backoff.failed(start) - start).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.too_early(start + 59 * SECOND), Some(SECOND));
        assert_eq!(backoff.too_early(start + MINUTE), None);
        backoff.succeeded();
        assert_eq!(backoff.too_early(start), None);
        assert_eq!(backoff.failed(start), start + SECOND);
    }

    #[test]
    fn backoff_survives_any_number_of_failures() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SECOND, MINUTE);
        for _ in 0..100_000 {
            backoff.failed(start);
        }
        assert_eq!(backoff.failed(start), start + MINUTE);
    }

    #[test]
    fn throttle_lets_one_through_each_interval() {
        let start = Instant::now();
        let mut throttle = Throttle::new(MINUTE);
        assert!(throttle.pass(start));
        assert!(!throttle.pass(start + 59 * SECOND));
        assert_eq!(throttle.too_early(start + 59 * SECOND), Some(SECOND));
        assert!(throttle.pass(start + MINUTE));
        assert!(!throttle.pass(start + MINUTE));
    }

    #[test]
    fn expensive_work_comes_less_often() {
        let mut throttle = Throttle::new(SECOND);
        let start = Instant::now();
        assert!(throttle.pass(start));
        throttle.widen(Duration::from_millis(1), SECOND);
        assert_eq!(throttle.too_early(start), Some(SECOND));
        throttle.widen(SECOND, SECOND);
        assert_eq!(throttle.too_early(start), Some(20 * SECOND));
        throttle.free();
        assert_eq!(throttle.too_early(start), None);
    }

    #[test]
    fn sleeping_ends_at_the_deadline_and_not_before() {
        assert_eq!(sleep_until(1, MINUTE), Duration::from_micros(1));
        assert_eq!(sleep_until(1_001, MINUTE), Duration::from_micros(1_001));
        assert_eq!(sleep_until(0, MINUTE), Duration::ZERO);
        assert_eq!(sleep_until(-5, MINUTE), Duration::ZERO);
        assert_eq!(sleep_until(i64::MIN, MINUTE), Duration::ZERO);
        assert_eq!(sleep_until(i64::MAX, MINUTE), MINUTE);
    }
}
