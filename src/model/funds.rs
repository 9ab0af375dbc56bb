//! The money of a batch with a budget: what it may spend, has spent, and holds ready for the calls under way. Pure.

use super::{
    batch::{ParkReason, Parked},
    outcome::Cached,
    task::Task,
    transition::Cause,
};
use crate::clock::Timestamp;

/// The largest budget, in billionths of the currency: nine million. A Redis script counts in whole numbers up to here.
pub const MAX_BUDGET: u64 = 9_000_000_000_000_000;

/// The money of a batch with a budget, in billionths of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Funds {
    /// What the batch may spend.
    #[n(0)]
    pub budget: u64,
    /// What its calls have cost, or may have cost where that is not known.
    #[n(1)]
    pub spent: u64,
    /// What the calls under way may cost at most.
    #[n(2)]
    pub reserved: u64,
    /// Set while the next task does not fit until a call under way has ended: what it may cost.
    #[n(3)]
    pub short: Option<u64>,
}

impl Funds {
    /// A budget of which nothing is spent.
    pub fn new(budget: u64) -> Self {
        Funds {
            budget,
            ..Funds::default()
        }
    }

    /// What is spent or may still be by the calls under way.
    pub fn committed(&self) -> u64 {
        self.spent.saturating_add(self.reserved)
    }

    /// Whether a call that may cost so much fits.
    pub fn has_room(&self, cost: u64) -> bool {
        self.committed().saturating_add(cost) <= self.budget
    }

    /// What was held ready for a call that is not made for now is free again.
    pub fn give_back(&mut self, reserved: u64) {
        self.settle(reserved, 0);
    }

    /// Holds ready what a call may cost.
    pub fn reserve(&mut self, cost: u64) {
        self.reserved = self.reserved.saturating_add(cost);
    }

    /// An attempt has ended for which `reserved` was held ready: what it cost is spent, the rest is free again.
    pub fn settle(&mut self, reserved: u64, cost: u64) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.spent = self.spent.saturating_add(cost).min(MAX_BUDGET);
    }

    /// Whether it is worth looking again at what did not fit.
    pub fn may_go_on(&self) -> bool {
        let fits = |short| self.has_room(short) || self.reserved == 0;
        self.short.is_some_and(fits)
    }

    /// Another budget. False, and nothing is changed, when it is not above what is committed.
    pub fn change(&mut self, budget: u64) -> bool {
        let is_more = budget > self.committed();
        if is_more {
            self.budget = budget;
        }
        is_more
    }
}

/// What an attempt cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bill {
    /// So much.
    Known(u64),
    /// The most it may have cost if its call was marked as sent, else nothing.
    Unknown,
}

impl Bill {
    /// Of the attempt that the task's last transition ended.
    pub fn of(task: &Task) -> Bill {
        match task.last().cause {
            Cause::Succeeded => match task.outcome.as_deref() {
                Some(outcome)
                    if matches!(outcome.cached, Some(Cached::Hit | Cached::Coalesced)) =>
                {
                    Bill::Known(0)
                }
                // An answer that costs nothing is one that does not say what it used.
                Some(outcome) if outcome.usage.cost_nanos > 0 => {
                    Bill::Known(outcome.usage.cost_nanos.min(MAX_BUDGET))
                }
                _ => Bill::Unknown,
            },
            Cause::Failed | Cause::Retried | Cause::Parked => match task.failures.last() {
                Some(failure) if !failure.maybe_billed => Bill::Known(0),
                Some(failure) if failure.cost_nanos > 0 => {
                    Bill::Known(failure.cost_nanos.min(MAX_BUDGET))
                }
                _ => Bill::Unknown,
            },
            _ => Bill::Unknown,
        }
    }

    /// In money: `most` is what a call may cost.
    pub fn cost(self, most: u64, was_sent: bool) -> u64 {
        match self {
            Bill::Known(cost) => cost,
            Bill::Unknown if was_sent => most,
            Bill::Unknown => 0,
        }
    }
}

/// Why a batch is held back whose next task does not fit into its budget.
pub fn out_of_budget(now: Timestamp) -> Parked {
    Parked {
        reason: ParkReason::Budget,
        message: "what is left of the batch's budget is less than its next task may cost; \
                  resume the batch with a higher budget"
            .to_owned(),
        time: now,
    }
}

#[cfg(test)]
mod tests;
