//! How much unfinished work a store holds before it takes no more. Pure.

use super::Error;
use crate::model::Spec;

/// The most that may be unfinished: queued, delayed, parked or processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Tasks.
    pub tasks: u64,
    /// Bytes of their inputs, see [`Spec::weight`].
    pub bytes: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            tasks: 2_000_000,
            bytes: 4 << 30,
        }
    }
}

impl Capacity {
    /// What each of `partitions` may hold: an equal share, rounded up.
    #[must_use]
    pub fn share(self, partitions: u16) -> Capacity {
        let partitions = u64::from(partitions.max(1));
        Capacity {
            tasks: self.tasks.div_ceil(partitions),
            bytes: self.bytes.div_ceil(partitions),
        }
    }

    /// Refuses `more` where one of `partitions` that holds `held` has no room for all of it.
    ///
    /// # Errors
    /// [`Error::Full`], which names the limit and what to do.
    pub fn check(self, partitions: u16, held: Load, more: Load) -> Result<(), Error> {
        let share = self.share(partitions);
        let limit = |key, limit, whole| match partitions {
            0 | 1 => format!("the limit of {limit} ({key})"),
            _ => format!("the limit of {limit} ({key}, {whole} over {partitions} partitions)"),
        };
        let cause = if held.tasks.saturating_add(more.tasks) > share.tasks {
            format!(
                "{} tasks are unfinished and {} more would pass {}",
                held.tasks,
                more.tasks,
                limit("limits.queue_tasks", share.tasks, self.tasks),
            )
        } else if held.bytes.saturating_add(more.bytes) > share.bytes {
            format!(
                "unfinished tasks hold {} bytes of input and {} more would pass {}",
                held.bytes,
                more.bytes,
                limit("limits.queue_bytes", share.bytes, self.bytes),
            )
        } else {
            return Ok(());
        };
        Err(Error::Full(format!(
            "{cause}; try again when some have ended, or raise it"
        )))
    }
}

/// An amount of unfinished work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks.
    pub tasks: u64,
    /// Bytes of their inputs.
    pub bytes: u64,
}

impl Load {
    /// What the tasks of these specs add.
    pub fn of<'a>(specs: impl IntoIterator<Item = &'a Spec>) -> Load {
        specs.into_iter().fold(Load::default(), |load, spec| Load {
            tasks: load.tasks + 1,
            bytes: load.bytes + spec.weight(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Capacity = Capacity {
        tasks: 10,
        bytes: 100,
    };

    fn load(tasks: u64, bytes: u64) -> Load {
        Load { tasks, bytes }
    }

    fn refusal(partitions: u16, held: Load, more: Load) -> String {
        match SMALL.check(partitions, held, more) {
            Err(Error::Full(cause)) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_exactly_is_taken() {
        assert!(SMALL.check(1, load(9, 90), load(1, 10)).is_ok());
        assert!(SMALL.check(1, load(0, 0), load(10, 100)).is_ok());
        assert!(SMALL.check(3, load(3, 33), load(1, 1)).is_ok());
    }

    #[test]
    fn a_refusal_names_the_limit_that_would_be_passed_its_value_and_its_key() {
        assert_eq!(
            refusal(1, load(9, 0), load(2, 0)),
            "9 tasks are unfinished and 2 more would pass the limit of 10 (limits.queue_tasks); \
             try again when some have ended, or raise it"
        );
        assert_eq!(
            refusal(3, load(1, 30), load(1, 5)),
            "unfinished tasks hold 30 bytes of input and 5 more would pass the limit of 34 \
             (limits.queue_bytes, 100 over 3 partitions); try again when some have ended, or raise it"
        );
        assert!(refusal(3, load(4, 0), load(1, 0)).contains("limit of 4 (limits.queue_tasks,"));
        assert!(refusal(1, load(1, u64::MAX), load(1, 1)).contains("limits.queue_bytes"));
    }
}
