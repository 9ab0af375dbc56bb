//! What the pieces took when that was last recorded, and what is to be said of what they take now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Percent by which a count may differ from the baseline without anybody being told. What hashes with a random key comes
/// out a little different each time, and so does what another change makes the optimiser lay out anew.
const TOLERANCE: u64 = 5;

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    /// The compiler and the C library: with others, the same source has other counts.
    pub(crate) built_with: String,
    /// The instructions of a round, by piece.
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// What is to be said of counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What must not pass.
    pub(crate) faults: Vec<String>,
    /// What is good to know.
    pub(crate) hints: Vec<String>,
}

impl Counts {
    /// Compares later counts with these.
    pub(crate) fn judge(&self, now: &Counts) -> Judgement {
        let mut judgement = Judgement::default();
        if self.built_with != now.built_with {
            judgement.hints.push(format!(
                "the baseline was counted with {}, this with {}: a difference may come of that alone",
                self.built_with, now.built_with
            ));
        }
        let (then, now) = (&self.instructions, &now.instructions);
        let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        for name in names {
            match (then.get(name), now.get(name)) {
                (Some(then), Some(now)) => judgement.compare(name, *then, *now),
                (None, _) => judgement.faults.push(format!(
                    "{name}: it is not in the baseline; record it with `scripts/count-instructions --record`"
                )),
                (_, None) => judgement.faults.push(format!(
                    "{name}: it is in the baseline, and there is no such piece; record what there is with \
                     `scripts/count-instructions --record`"
                )),
            }
        }
        judgement
    }
}

impl Judgement {
    fn compare(&mut self, name: &str, then: u64, now: u64) {
        let beside = format!(
            "{now} instructions a round, {:.1} %",
            percent(then, now).abs()
        );
        if now * 100 > then * (100 + TOLERANCE) {
            self.faults.push(format!(
                "{name}: {beside} more than the {then} of the baseline"
            ));
        } else if now * 100 < then * (100 - TOLERANCE) {
            self.hints.push(format!(
                "{name}: {beside} fewer than the {then} of the baseline; record that with \
                 `scripts/count-instructions --record`, or it may be lost again unnoticed"
            ));
        }
    }
}

/// By how much `now` is more than `then`.
pub(crate) fn percent(then: u64, now: u64) -> f64 {
    (now as f64 / then as f64 - 1.0) * 100.0
}
