//! What the worker does each time it wakes up, and when it must wake up next.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Throttle, sleep_until};
use super::endings::Expiry;
use super::enforce::Enforcement;
use super::statement::number;
use super::step::{BATCH, Outcome, Step, Stop, transaction};
use super::{database, endings, names, notify, requests, reviews, shared, starts};
use crate::check::{clock, replica};

/// However quiet it is, the worker looks once in this time: what a superuser changed by hand
/// nudges nobody, and clocks jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The work that walks over everything alive is not done more often than this.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The first of many events is announced at once, the others together: each announcement is a commit that waits for the disk.
const ANNOUNCEMENTS: Duration = Duration::from_millis(20);
/// How soon to look again at what was due and locked.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Microseconds until something is due; negative when it is overdue. Bounded, for the dates that
/// arithmetic overflows on are valid dates. OFFSET 0: it is needed in two places, and looked for once.
const DEADLINE: &str = "
SELECT (extract(epoch FROM greatest(least(d.at, c.now + interval '1 day'), c.now - interval '1 day') - c.now)
        * 1000000)::bigint
  FROM (SELECT clock_timestamp() AS now) c,
       (SELECT least(
            (SELECT g.ends_at
               FROM jit_private.grants g
              WHERE g.tidied_at IS NULL AND g.origin = jit.origin()
                AND NOT EXISTS (SELECT FROM jit_private.endings e WHERE e.grant_id = g.id OFFSET 0)
              ORDER BY g.ends_at LIMIT 1),
            (SELECT r.lapses_at FROM jit_private.requests r
              WHERE r.state = 'pending' AND r.origin = jit.origin() ORDER BY r.lapses_at LIMIT 1),
            (SELECT g.starts_at FROM jit_private.grants g
              WHERE g.asked_by IS NOT NULL AND g.tidied_at IS NULL AND g.origin = jit.origin() ORDER BY g.starts_at LIMIT 1),
            (SELECT r.review_due FROM jit_private.requests r
              WHERE r.review_due IS NOT NULL AND r.reviewed_at IS NULL AND r.escalated_at IS NULL AND r.origin = jit.origin()
              ORDER BY r.review_due LIMIT 1)
        ) AS at OFFSET 0) d
 WHERE d.at IS NOT NULL";

/// The extension is gone.
pub struct Gone;

/// The steps, with their histories.
pub struct Pass {
    stop: Step,
    enforcement: Enforcement,
    expire: Step,
    expiry: Expiry,
    lapse: Step,
    start: Step,
    escalate: Step,
    drop_stale: Step,
    send: Step,
    end_dead: Step,
    close: Step,
    tidy: Step,
    follow: Step,
    find_deadline: Step,
    /// The server was a standby until now.
    has_followed: bool,
    /// There was a full batch of what was due.
    more_is_due: bool,
    announcements: Throttle,
    /// Something happened that may need housekeeping.
    untidy: bool,
    housekeeping: Throttle,
    minute: Throttle,
    overdue: Backoff,
}

/// When to wake up, as the steps find out. A moment, since the steps that follow take their time.
struct Wake(Instant);

impl Wake {
    fn new() -> Self {
        Wake(Instant::now() + LONGEST_SLEEP)
    }

    fn within(&mut self, wait: Duration) {
        self.0 = self.0.min(Instant::now() + wait);
    }

    /// How long until then.
    fn sleep(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The result of the step, if it has one.
    fn take<R>(&mut self, outcome: Outcome<R>) -> Result<Option<R>, Gone> {
        match outcome {
            Outcome::Done(result) => Ok(Some(result)),
            Outcome::Later(wait) => {
                self.within(wait);
                Ok(None)
            }
            Outcome::Gone => Err(Gone),
        }
    }

    /// The same for a step that says how many rows it handled: there may be more of them.
    fn count(&mut self, outcome: Outcome<i64>) -> Result<i64, Gone> {
        let handled = self.take(outcome)?.unwrap_or(0);
        if handled >= BATCH {
            self.within(Duration::ZERO);
        }
        Ok(handled)
    }

    /// The same for a step whose batches are its own: as long as there was something, there may be more.
    fn some(&mut self, outcome: Outcome<i64>) -> Result<(), Gone> {
        if self.take(outcome)?.unwrap_or(0) > 0 {
            self.within(Duration::ZERO);
        }
        Ok(())
    }
}

impl Pass {
    pub fn new() -> Self {
        Pass {
            stop: Step::urgent(
                "stop the users of what has ended",
                "It tries again by itself. New statements are refused as they should; what runs may go on.",
            ),
            enforcement: Enforcement::default(),
            expire: Step::new("put expired grants on record"),
            expiry: Expiry::new(),
            lapse: Step::new("put lapsed requests on record"),
            start: Step::new("start scheduled grants"),
            escalate: Step::new("escalate overdue reviews"),
            drop_stale: Step::new("drop stale notifications"),
            send: Step::new("notify"),
            end_dead: Step::new("end the grants of disabled scopes"),
            close: Step::new("close the requests of disabled scopes"),
            tidy: Step::new("tidy away ended grants"),
            follow: Step::new("follow renamed roles"),
            find_deadline: Step::new("find the next deadline"),
            has_followed: false,
            more_is_due: false,
            announcements: Throttle::new(ANNOUNCEMENTS),
            untidy: true,
            housekeeping: Throttle::new(HOUSEKEEPING),
            minute: Throttle::new(LONGEST_SLEEP),
            overdue: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1),
        }
    }

    /// Does everything that is due. Returns how long the worker may sleep.
    pub fn run(&mut self, nudged: bool) -> Result<Duration, Gone> {
        let mut wake = Wake::new();
        if replica::in_recovery() {
            self.has_followed = true;
            self.follow(&mut wake)?;
            return Ok(wake.sleep());
        }
        if std::mem::replace(&mut self.has_followed, false) {
            database::pin(database::PINNED);
        }
        // Before anything else: rows are flowing.
        let enforcement = &mut self.enforcement;
        if let Some(Some(again)) = wake.take(self.stop.attempt(|| enforcement.run()))? {
            wake.within(again);
        }
        let expired = if self.more_is_due || self.is_anything_due(&mut wake)? {
            self.end_what_is_due(&mut wake)?
        } else {
            0
        };
        let minute = self.minute.pass(Instant::now());
        if minute {
            wake.take(self.drop_stale.attempt(notify::drop_stale))?;
        }
        self.announce(&mut wake)?;
        self.untidy |= nudged || expired > 0 || minute;
        self.keep_house(&mut wake)?;
        Ok(wake.sleep())
    }

    /// Mostly nothing is: what wakes the worker is that somebody has asked or approved. Then the look at the next deadline is all
    /// that it takes. Yes, where that cannot be told.
    fn is_anything_due(&mut self, wake: &mut Wake) -> Result<bool, Gone> {
        let Some(deadline) = wake.take(self.find_deadline.attempt(next_deadline))? else { return Ok(true) };
        let is_due = deadline.is_some_and(|micros| micros <= 0);
        if !is_due {
            self.wait_for(deadline, wake);
        }
        Ok(is_due)
    }

    /// Says how many grants have expired.
    fn end_what_is_due(&mut self, wake: &mut Wake) -> Result<i64, Gone> {
        let expiry = &mut self.expiry;
        let expired = wake.count(self.expire.attempt(|| expiry.run()))?;
        shared::report(|status| status.ended += expired);
        wake.count(self.lapse.attempt(requests::lapse))?;
        wake.some(self.start.attempt(starts::start))?;
        wake.count(self.escalate.attempt(reviews::escalate))?;
        self.more_is_due = expired >= BATCH;
        if self.more_is_due {
            // To look for it is to walk over all that has ended and has not been tidied away.
            shared::report(|status| {
                status.last_pass = clock::now();
                status.next_deadline = status.last_pass;
            });
        } else if let Some(deadline) = wake.take(self.find_deadline.attempt(next_deadline))? {
            self.wait_for(deadline, wake);
        }
        Ok(expired)
    }

    fn announce(&mut self, wake: &mut Wake) -> Result<(), Gone> {
        let now = Instant::now();
        if let Some(wait) = self.announcements.too_early(now) {
            wake.within(wait);
        } else if wake.count(self.send.attempt(notify::send))? > 0 {
            self.announcements.pass(now);
        }
        Ok(())
    }

    /// All that there is to do on a standby.
    fn follow(&mut self, wake: &mut Wake) -> Result<(), Gone> {
        // A table whose lock replay waits for keeps everybody waiting, and time is short.
        database::pin(&[(c"lock_timeout", c"500ms")]);
        let enforcement = &mut self.enforcement;
        if let Some(Some(again)) = wake.take(self.stop.attempt(|| enforcement.follow()))? {
            wake.within(again);
        }
        shared::report(|status| {
            status.last_pass = clock::now();
            status.next_deadline = 0;
        });
        Ok(())
    }

    /// What is not urgent: nobody's access depends on it, and it costs time in proportion to
    /// what is alive.
    fn keep_house(&mut self, wake: &mut Wake) -> Result<(), Gone> {
        if !self.untidy {
            return Ok(());
        }
        let start = Instant::now();
        if let Some(wait) = self.housekeeping.too_early(start) {
            wake.within(wait);
            return Ok(());
        }
        self.housekeeping.pass(start);
        let dead = wake.count(self.end_dead.attempt(endings::end_dead))?;
        shared::report(|status| status.ended += dead);
        let closed = wake.take(self.close.attempt(requests::close))?;
        // What has been tidied away cannot be told from what ended long ago.
        let tidied = if self.enforcement.needs_the_untidied() {
            0
        } else {
            wake.count(self.tidy.attempt(endings::tidy))?
        };
        wake.take(self.follow.attempt(names::follow))?;
        let (closed, left_over) = closed.map_or((0, false), |c| (c.count, c.left_over));
        self.housekeeping.widen(start.elapsed(), HOUSEKEEPING);
        if dead >= BATCH || closed >= BATCH || tidied >= BATCH {
            self.housekeeping.free();
        }
        self.untidy = left_over || self.enforcement.needs_the_untidied() || dead > 0 || tidied >= BATCH;
        if self.untidy {
            wake.within(self.housekeeping.too_early(Instant::now()).unwrap_or_default());
        }
        if dead > 0 || closed > 0 {
            // There are events to announce.
            wake.within(Duration::ZERO);
        }
        Ok(())
    }

    /// No longer than until the deadline. What is overdue even after everything has been done is locked by somebody, or has come
    /// due meanwhile.
    fn wait_for(&mut self, deadline: Option<i64>, wake: &mut Wake) {
        let now = clock::now();
        shared::report(|status| {
            status.last_pass = now;
            status.next_deadline = deadline.map_or(0, |micros| now.saturating_add(micros));
        });
        match deadline {
            Some(micros) if micros <= 0 => {
                let now = Instant::now();
                let again = self.overdue.failed(now);
                wake.within(again - now);
            }
            Some(micros) => {
                self.overdue.succeeded();
                wake.within(sleep_until(micros, LONGEST_SLEEP));
            }
            None => self.overdue.succeeded(),
        }
    }
}

fn next_deadline() -> Result<Option<i64>, Stop> {
    transaction(|| number(DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the second: the clock goes on.
    fn seconds(wake: &Wake) -> u64 {
        (wake.sleep() + Duration::from_millis(500)).as_secs()
    }

    #[test]
    fn the_nearest_moment_wins() {
        let mut wake = Wake::new();
        assert_eq!(seconds(&wake), LONGEST_SLEEP.as_secs());
        wake.within(Duration::from_secs(5));
        wake.within(Duration::from_secs(7));
        assert_eq!(seconds(&wake), 5);
        assert!(wake.take(Outcome::<()>::Later(Duration::from_secs(2))).is_ok());
        assert_eq!(seconds(&wake), 2);
    }

    #[test]
    fn what_takes_its_time_is_not_added_to_the_sleep() {
        let mut wake = Wake::new();
        wake.within(Duration::from_secs(1));
        wake.0 -= Duration::from_secs(2);
        assert_eq!(wake.sleep(), Duration::ZERO);
    }

    #[test]
    fn a_full_batch_means_that_there_is_more() {
        let mut wake = Wake::new();
        assert!(matches!(wake.count(Outcome::Done(BATCH - 1)), Ok(4_999)));
        assert_eq!(seconds(&wake), LONGEST_SLEEP.as_secs());
        assert!(wake.count(Outcome::Done(BATCH)).is_ok());
        assert_eq!(wake.sleep(), Duration::ZERO);
    }

    #[test]
    fn nothing_goes_on_without_the_extension() {
        assert!(Wake::new().take(Outcome::<()>::Gone).is_err());
    }
}
