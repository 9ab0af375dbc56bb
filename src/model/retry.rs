//! What to do about a failed attempt: another one, the end, or a parked batch. Budgets are kept apart, so that
//! a rate limit never uses up the attempts meant for failures, nor a crash those of either.

use std::time::Duration;

use super::{
    batch::Parked,
    failure::{Budget, ErrorCode, Failed, Failure, Recourse, Wait},
    spec::Spec,
    task::{Charges, Task},
    transition::Event,
};
use crate::clock::Timestamp;

/// Sends whose answer may exist and be billed: the first, and one more.
pub const MAX_AMBIGUOUS: u32 = 2;
/// Workers a task may lose; with the third it is taken for poison.
pub const MAX_CRASHES: u32 = 3;
/// An overloaded upstream recovers; giving up early would only move the load to the submitter.
pub const MAX_OVERLOADS: u32 = 20;
/// A task that changes status this often is stuck in a loop; its record must not grow without bound.
pub const MAX_TRANSITIONS: u64 = 1_000;
/// By how much each wait charged to time alone is longer than the one before. A day of them, the default deadline,
/// stays below [`MAX_TRANSITIONS`]: an upstream that is away or throttling for hours fails no task.
const WAIT_STEP: Duration = Duration::from_millis(1_500);
/// The longest such step; the upstream may be back any moment.
const LONGEST_WAIT: Duration = Duration::from_secs(400);
/// How much longer than told the next attempt waits at most, so that not all come back at once.
const TOLD_JITTER: f64 = 0.1;

/// The event that follows a failed attempt. `jitter` is drawn uniformly from 0 to 1.
pub fn after_failure(task: &Task, failed: Failed, now: Timestamp, jitter: f64) -> Event {
    let Failed { failure, recourse } = failed;
    let (budget, wait) = match recourse {
        Recourse::Never => return Event::Failed(failure),
        Recourse::Park(reason) => {
            let parked = Parked {
                reason,
                message: failure.message.clone(),
                time: now,
            };
            return Event::Parked { failure, parked };
        }
        Recourse::Retry { budget, wait } => (budget, wait),
    };
    if task.revision() + 2 >= MAX_TRANSITIONS {
        return Event::Failed(too_many_transitions(&failure));
    }
    let mut charges = task.charges;
    let used = charge(&mut charges, budget);
    if is_spent(&charges, &task.spec) {
        return Event::Failed(failure);
    }
    let mut pause = delay(wait, used, jitter);
    if budget == Budget::Time {
        pause = pause.max(growing(used, jitter));
    }
    Event::Retried {
        failure,
        due: now + pause,
        charges,
    }
}

/// The event that follows the loss of a task's worker.
pub fn after_lost_worker(task: &Task) -> Event {
    let crashes = task.charges.crashes + 1;
    let mut failure = Failure::new(
        ErrorCode::WorkerLost,
        format!("the worker running this attempt was lost ({crashes} of {MAX_CRASHES})"),
    );
    failure.maybe_billed = task.sent;
    if crashes >= MAX_CRASHES || task.revision() + 2 >= MAX_TRANSITIONS {
        return Event::Poisoned(failure);
    }
    Event::LeaseExpired(failure)
}

fn too_many_transitions(last: &Failure) -> Failure {
    Failure {
        code: ErrorCode::TooManyTransitions,
        message: format!(
            "the task changed status {MAX_TRANSITIONS} times without an end; the last failure was: {}",
            last.message
        ),
        ..last.clone()
    }
}

/// Charges one attempt and tells how many that budget had seen before.
fn charge(charges: &mut Charges, budget: Budget) -> u32 {
    let counter = match budget {
        Budget::Time => &mut charges.waits,
        Budget::Attempts => &mut charges.failures,
        Budget::Ambiguous => &mut charges.ambiguous,
        Budget::Overload => &mut charges.overloads,
        Budget::Validation => &mut charges.misfits,
        Budget::AttemptsAndAmbiguous => {
            charges.ambiguous += 1;
            &mut charges.failures
        }
    };
    *counter += 1;
    *counter - 1
}

fn is_spent(charges: &Charges, spec: &Spec) -> bool {
    charges.failures >= spec.max_attempts
        || charges.misfits > spec.validation_retries.unwrap_or_default()
        || charges.ambiguous >= MAX_AMBIGUOUS
        || charges.overloads >= MAX_OVERLOADS
}

fn delay(wait: Wait, used: u32, jitter: f64) -> Duration {
    match wait {
        Wait::Backoff { base, cap } => base
            .saturating_mul(1 << used.min(20))
            .min(cap)
            .mul_f64(jitter.clamp(0.0, 1.0)),
        Wait::Told(told) => told.mul_f64(1.0 + TOLD_JITTER * jitter.clamp(0.0, 1.0)),
    }
}

/// At least how long to wait when `used` waits charged to time have gone before.
fn growing(used: u32, jitter: f64) -> Duration {
    WAIT_STEP
        .saturating_mul(used)
        .min(LONGEST_WAIT)
        .mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
