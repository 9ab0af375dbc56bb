//! What answers have cost: written into them, and told to operators by model and by the values of one label.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::{
    journal,
    model::{Outcome, Prices, Task},
};

/// So many values of the label are told apart: each is a time series of its own, for as long as the process lives.
const VALUES_MAX: usize = 256;
/// Stands for the rest.
const OTHERS: &str = "others";

/// Prices, and whose costs are told apart.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    prices: Prices,
    label: Option<String>,
    values: Mutex<BTreeSet<String>>,
}

impl Ledger {
    /// Costs by these prices, told apart by this label, if there is one.
    pub(super) fn new(prices: Prices, label: Option<String>) -> Self {
        Ledger {
            prices,
            label,
            values: Mutex::default(),
        }
    }

    /// The answer to the task with what it cost, if its model has a price.
    pub(super) fn charge(&self, task: &Task, mut outcome: Outcome) -> Outcome {
        let Some((model, price)) = self.prices.named(&task.spec.model, &outcome.model) else {
            return outcome;
        };
        let nanos = price.of(&outcome.usage);
        outcome.usage.cost_nanos = nanos;
        journal::spent(model, nanos);
        if let Some(label) = &self.label {
            let value = task.spec.labels.get(label).map_or("", String::as_str);
            journal::spent_for(self.told_apart(value), nanos);
        }
        outcome
    }

    fn told_apart<'a>(&self, value: &'a str) -> &'a str {
        let mut values = self.values.lock();
        if values.contains(value) {
            return value;
        }
        if values.len() == VALUES_MAX {
            return OTHERS;
        }
        values.insert(value.to_owned());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_so_many_are_counted_together() {
        let ledger = Ledger::default();
        for number in 0..VALUES_MAX {
            let value = number.to_string();
            assert_eq!(ledger.told_apart(&value), value);
        }
        assert_eq!(ledger.told_apart("one more"), OTHERS);
        assert_eq!(ledger.told_apart("7"), "7");
    }
}
