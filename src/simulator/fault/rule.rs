//! Faults by number and by time: every tenth call, all from the hundredth on, all for a minute.

use std::{ops::Range, str::FromStr, time::Duration};

use super::Fault;

/// A fault of all calls that it names. As text: `503,during=30s..90s`, `insufficient-quota,from=500`,
/// `429:89s,every=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only with every so many-th admitted call.
    pub every: u64,
    /// Only from this admitted call on, counted from 1.
    pub from: u64,
    /// Only in this time, counted from the first admitted call since the plan is in force.
    pub during: Option<Range<Duration>>,
}

impl Rule {
    /// This fault, with every call.
    pub fn new(fault: Fault) -> Self {
        Rule {
            fault,
            every: 1,
            from: 1,
            during: None,
        }
    }

    /// Whether it names the call that is the `nth` admitted one, so long after the first.
    pub(super) fn names(&self, nth: u64, since: Duration) -> bool {
        nth >= self.from
            && nth.is_multiple_of(self.every)
            && self
                .during
                .as_ref()
                .is_none_or(|during| during.contains(&since))
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.every == 0 {
            return Err("a fault with every 0th call never comes");
        }
        if self.during.as_ref().is_some_and(Range::is_empty) {
            return Err("a fault's time ends before it begins");
        }
        Ok(())
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRule {
    /// It names no fault.
    #[error(transparent)]
    Fault(#[from] super::Unreadable),
    /// What follows the fault cannot be read.
    #[error(
        "expected every=N, from=N or during=TIME..TIME after the fault, for example 503,during=30s..90s"
    )]
    Condition,
    /// It can be read, but names no call.
    #[error("{0}")]
    Never(&'static str),
}

impl FromStr for Rule {
    type Err = UnreadableRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let mut rule = Rule::new(parts.next().unwrap_or_default().trim().parse()?);
        for part in parts {
            let condition = part.trim().split_once('=');
            let number = |text: &str| text.parse().map_err(|_| UnreadableRule::Condition);
            match condition.ok_or(UnreadableRule::Condition)? {
                ("every", text) => rule.every = number(text)?,
                ("from", text) => rule.from = number(text)?,
                ("during", text) => rule.during = Some(during(text)?),
                _ => return Err(UnreadableRule::Condition),
            }
        }
        rule.check().map_err(UnreadableRule::Never)?;
        Ok(rule)
    }
}

fn during(text: &str) -> Result<Range<Duration>, UnreadableRule> {
    let (from, to) = text.split_once("..").ok_or(UnreadableRule::Condition)?;
    let time = |text| humantime::parse_duration(text).map_err(|_| UnreadableRule::Condition);
    Ok(time(from)?..time(to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_rule_names_calls_by_number_and_by_time() {
        let every: Rule = "429:89s,every=10".parse().unwrap();
        let named: Vec<u64> = (1..=30).filter(|nth| every.names(*nth, secs(0))).collect();
        assert_eq!(named, [10, 20, 30]);
        let from: Rule = "insufficient-quota,from=3".parse().unwrap();
        assert!(!from.names(2, secs(9)) && from.names(3, secs(0)) && from.names(1_000, secs(9)));
        let during: Rule = "503,during=30s..90s".parse().unwrap();
        assert!(!during.names(1, secs(29)) && during.names(1, secs(30)));
        assert!(during.names(1, secs(89)) && !during.names(1, secs(90)));
        let all: Rule = "429:1s,every=2,from=4,during=0s..10s".parse().unwrap();
        assert!(!all.names(2, secs(0)) && !all.names(5, secs(0)) && all.names(6, secs(0)));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "explode",
            "503,always",
            "503,every=0",
            "503,every=ten",
            "503,during=30s",
            "503,during=90s..30s",
            "503,until=9s",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }
}
