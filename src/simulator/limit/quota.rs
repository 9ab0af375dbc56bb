//! One quota: so many units a minute, as a bucket that refills all the time or as a count that starts anew with every
//! window. Pure: the time comes in, as the time since the simulation's first call.

use std::time::Duration;

/// How a quota is enforced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// A bucket that holds what comes in so much time, and what is in it.
    Bucket { burst: Duration, level: f64 },
    /// Windows of this length one after the other, and what the present one has used.
    Window { length: Duration, used: f64 },
}

/// What may be used of one thing, requests or tokens.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    configured: f64,
    /// What a change of the quota has left of it, or made of it.
    factor: f64,
    shape: Shape,
    at: Duration,
}

impl Quota {
    /// A bucket that is full, and that holds what comes in `burst`.
    pub(super) fn bucket(per_minute: u64, burst: Duration) -> Self {
        let mut quota = Quota::new(per_minute, Shape::Bucket { burst, level: 0.0 });
        let full = quota.capacity();
        quota.shape = Shape::Bucket { burst, level: full };
        quota
    }

    /// Windows of `length`, the first of which begins with the simulation's first call.
    pub(super) fn window(per_minute: u64, length: Duration) -> Self {
        Quota::new(per_minute, Shape::Window { length, used: 0.0 })
    }

    fn new(per_minute: u64, shape: Shape) -> Self {
        Quota {
            configured: as_float(per_minute),
            factor: 1.0,
            shape,
            at: Duration::ZERO,
        }
    }

    /// Lets the time pass until `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        let capacity = self.capacity();
        let since = now.saturating_sub(self.at).as_secs_f64();
        let came = since * self.rate();
        match &mut self.shape {
            Shape::Bucket { level, .. } => *level = (*level + came).min(capacity),
            Shape::Window { length, used } => {
                if window_of(now, *length) > window_of(self.at, *length) {
                    *used = 0.0;
                }
            }
        }
        self.at = self.at.max(now);
    }

    /// Makes the quota `factor` times what was configured, from now on.
    pub(super) fn change(&mut self, factor: f64) {
        self.factor = factor;
        let capacity = self.capacity();
        if let Shape::Bucket { level, .. } = &mut self.shape {
            *level = level.min(capacity);
        }
    }

    /// The most that can ever be used at once.
    pub(super) fn capacity(&self) -> f64 {
        let held = match self.shape {
            Shape::Bucket { burst, .. } => burst,
            Shape::Window { length, .. } => length,
        };
        // One that cannot hold one request would never let one through.
        (self.rate() * held.as_secs_f64()).max(1.0)
    }

    /// What may be used now; below zero where more was used than there was.
    pub(super) fn left(&self) -> f64 {
        match self.shape {
            Shape::Bucket { level, .. } => level,
            Shape::Window { used, .. } => self.capacity() - used,
        }
    }

    /// How long it takes until `cost` may be used, if nobody else uses anything.
    pub(super) fn wait_for(&self, cost: f64) -> Duration {
        let lacking = cost - self.left();
        if lacking <= 0.0 {
            return Duration::ZERO;
        }
        match self.shape {
            Shape::Bucket { .. } => Duration::from_secs_f64(lacking / self.rate()),
            Shape::Window { length, .. } => self.window_end(length),
        }
    }

    /// How long it takes until everything may be used.
    pub(super) fn reset(&self) -> Duration {
        self.wait_for(self.capacity())
    }

    /// Uses `cost`, even what is not there.
    pub(super) fn take(&mut self, cost: f64) {
        match &mut self.shape {
            Shape::Bucket { level, .. } => *level -= cost,
            Shape::Window { used, .. } => *used += cost,
        }
    }

    /// Takes `cost` for nothing, or what is left of it.
    pub(super) fn forfeit(&mut self, cost: f64) {
        self.take(cost.min(self.left().max(0.0)));
    }

    /// The limit as it now is.
    pub(super) fn per_minute(&self) -> f64 {
        self.configured * self.factor
    }

    /// Units a second.
    fn rate(&self) -> f64 {
        self.per_minute() / 60.0
    }

    fn window_end(&self, length: Duration) -> Duration {
        let next = (window_of(self.at, length) + 1) * length.as_nanos();
        let wait = next.saturating_sub(self.at.as_nanos());
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// Which window an instant falls into.
fn window_of(at: Duration, length: Duration) -> u128 {
    at.as_nanos() / length.as_nanos().max(1)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of tokens a minute stay far below 2^53"
)]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// How many single units get through when one is asked for every 10 ms between two instants.
    fn through(quota: &mut Quota, from: Duration, to: Duration) -> usize {
        let step = Duration::from_millis(10);
        let mut now = from;
        let mut let_through = 0;
        while now < to {
            quota.advance(now);
            if quota.wait_for(1.0).is_zero() {
                quota.take(1.0);
                let_through += 1;
            }
            now += step;
        }
        let_through
    }

    #[test]
    fn a_bucket_lets_its_burst_through_at_once_and_its_rate_after_that() {
        // 600 a minute are 10 a second: the burst, and 10 for every second.
        for (burst, first_minute) in [
            (secs(1), 609..=610),
            (secs(10), 699..=700),
            (secs(60), 1_199..=1_200),
        ] {
            let mut quota = Quota::bucket(600, burst);
            let capacity = quota.capacity();
            let at_once = (0..5_000).filter(|_| {
                let fits = quota.wait_for(1.0).is_zero();
                if fits {
                    quota.take(1.0);
                }
                fits
            });
            assert_eq!(as_float(at_once.count() as u64), capacity, "{burst:?}");
            let mut quota = Quota::bucket(600, burst);
            let count = through(&mut quota, Duration::ZERO, secs(60));
            assert!(first_minute.contains(&count), "{burst:?}: {count}");
            assert!((599..=601).contains(&through(&mut quota, secs(60), secs(120))));
        }
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_its_burst() {
        let mut quota = Quota::bucket(600, secs(1));
        quota.advance(secs(3_600));
        assert_eq!(quota.left(), 10.0);
    }

    #[test]
    fn a_window_lets_all_through_at_its_start_and_nothing_until_the_next() {
        let mut quota = Quota::window(600, secs(60));
        assert_eq!(through(&mut quota, secs(1), secs(59)), 600);
        quota.advance(secs(59));
        assert_eq!(quota.wait_for(1.0), secs(1));
        assert_eq!(quota.reset(), secs(1));
        assert_eq!(through(&mut quota, secs(60), secs(119)), 600);
        // Windows that nobody used do not add up.
        assert_eq!(through(&mut quota, secs(300), secs(359)), 600);
    }

    #[test]
    fn a_change_holds_from_its_instant_on() {
        let mut quota = Quota::bucket(600, secs(1));
        through(&mut quota, Duration::ZERO, secs(10));
        quota.advance(secs(10));
        quota.change(0.5);
        assert!((299..=301).contains(&through(&mut quota, secs(10), secs(70))));
        quota.change(1.0);
        assert!((599..=601).contains(&through(&mut quota, secs(70), secs(130))));
        let mut quota = Quota::window(600, secs(60));
        assert_eq!(through(&mut quota, Duration::ZERO, secs(4)), 400);
        quota.change(0.5);
        assert_eq!(
            through(&mut quota, secs(4), secs(60)),
            0,
            "400 were used of 300"
        );
    }

    #[test]
    fn debts_are_paid_before_anything_gets_through() {
        let mut quota = Quota::bucket(600, secs(1));
        quota.take(30.0);
        assert_eq!(quota.wait_for(1.0), Duration::from_millis(2_100));
        quota.forfeit(5.0);
        assert_eq!(quota.left(), -20.0, "nothing is left to forfeit");
        quota.advance(secs(3));
        assert_eq!(quota.left(), 10.0);
        quota.forfeit(25.0);
        assert_eq!(quota.left(), 0.0);
    }
}
