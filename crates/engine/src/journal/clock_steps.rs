//! Measures forward steps of the wall clock while this process runs. Windows are counted from written times, and so by
//! the wall clock; a step must end none of them early (I9). So each window is longer by the steps within it. For
//! restores that ended before the step that is exact; restores that ended after it are not old enough to matter. Steps
//! from before the start of the process are unknown.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use restore_model::{Clock, Timestamp};

/// Less than this is the clock being adjusted, and no jump.
const JUMP: i64 = 1_000_000;
/// Clock steps that are kept separately.
const KEPT: usize = 64;

/// Steps of the wall clock, as seen at each reading of it.
#[derive(Debug)]
pub(crate) struct ClockSteps {
    began: Duration,
    wall_then: Timestamp,
    /// Since when the wall clock has been ahead of the monotonic one by so many micros. Never empty.
    ahead: Mutex<Vec<(Duration, i64)>>,
}

impl ClockSteps {
    /// From now on.
    pub(crate) fn since(clock: &dyn Clock) -> Self {
        let (began, wall_then) = (clock.elapsed(), clock.now());
        Self { began, wall_then, ahead: Mutex::new(vec![(began, 0)]) }
    }

    /// A window as long as it must be, now, to reach back by so much of real time.
    pub(crate) fn reaching_back(&self, clock: &dyn Clock, window: Duration) -> Duration {
        let now = clock.elapsed();
        let elapsed = i64::try_from(now.saturating_sub(self.began).as_micros()).unwrap_or(i64::MAX);
        let ahead = clock.now().micros_since(self.wall_then).saturating_sub(elapsed);
        let mut kept = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.last().is_none_or(|(_, last)| ahead.abs_diff(*last) >= JUMP.unsigned_abs()) {
            kept.push((now, ahead));
        }
        if kept.len() > KEPT {
            // Of the two oldest the one that makes windows longer.
            let (_, oldest) = kept.remove(0);
            kept[0].1 = kept[0].1.min(oldest);
        }
        // Each holds until the next one began.
        let ends = kept.iter().skip(1).map(|(until, _)| Some(*until)).chain([None]);
        let within =
            kept.iter().zip(ends).filter(|(_, end)| end.is_none_or(|end| now.saturating_sub(end) <= window));
        let least = within.map(|((_, ahead), _)| *ahead).min().unwrap_or(ahead);
        window + Duration::from_micros(u64::try_from(ahead.saturating_sub(least)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(900);

    /// So many seconds on the wall, and so many passed.
    struct At(i64, u64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(self.0)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(7 + self.1)
        }
    }

    #[test]
    fn a_clock_that_goes_right_changes_nothing() {
        let steps = ClockSteps::since(&At(0, 0));
        assert_eq!(steps.reaching_back(&At(5000, 5000), WINDOW), WINDOW);
    }

    #[test]
    fn a_jump_forward_counts_for_as_long_as_a_window_reaches_over_it() {
        let steps = ClockSteps::since(&At(0, 0));
        let longer = WINDOW + Duration::from_secs(3600);
        assert_eq!(steps.reaching_back(&At(3700, 100), WINDOW), longer);
        assert_eq!(steps.reaching_back(&At(4600, 1000), WINDOW), longer);
        assert_eq!(steps.reaching_back(&At(4601, 1001), WINDOW), WINDOW);
        let twice = 2 * WINDOW;
        assert_eq!(steps.reaching_back(&At(4601, 1001), twice), twice + Duration::from_secs(3600));
    }

    #[test]
    fn forward_after_back_counts_as_a_whole_and_back_alone_does_not() {
        let steps = ClockSteps::since(&At(0, 0));
        assert_eq!(steps.reaching_back(&At(-600, 0), WINDOW), WINDOW);
        assert_eq!(steps.reaching_back(&At(600, 0), WINDOW), WINDOW + Duration::from_secs(1200));
    }

    #[test]
    fn however_often_it_jumps_little_is_kept_and_no_window_is_too_short() {
        let steps = ClockSteps::since(&At(0, 0));
        for n in 1..1000 {
            let longer = steps.reaching_back(&At(10 * n, 0), WINDOW);
            assert_eq!(longer, WINDOW + Duration::from_secs(10 * n.unsigned_abs()));
        }
        assert!(steps.ahead.lock().unwrap().len() <= KEPT);
    }
}
