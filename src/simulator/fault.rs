//! What goes wrong on purpose, and when.

mod rule;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use rand::{RngExt, rngs::SmallRng};

pub use rule::{Rule, UnreadableRule};

/// One way for a call to fail. As text: a status like `500`, or the name that `Display` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error of this status, in OpenAI's shape.
    Status(u16),
    /// 429 that asks for this wait, whatever the limits are. As text: `429:89s`.
    RetryAfter(Duration),
    /// 429 that means no money is left.
    InsufficientQuota,
    /// 400: the prompt is too long for the model.
    ContextLength,
    /// The connection is reset (TCP RST) before a status.
    Reset,
    /// The connection is closed (TCP FIN) before a status.
    Close,
    /// No answer ever comes.
    Stall,
    /// 200 with a body that is no JSON.
    Malformed,
    /// 200 with an empty list of choices.
    EmptyChoices,
    /// 200 with a body, or a stream, that breaks off.
    Truncated,
    /// 200 with a valid body of 64 MiB.
    Huge,
    /// This very reply.
    Reply(Arc<Canned>),
}

/// A reply given word for word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canned {
    /// The status.
    pub status: u16,
    /// Headers to add.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Fault {
    /// A reply given word for word.
    pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        Fault::Reply(Arc::new(Canned {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.into(),
        }))
    }

    /// Refused on sight, before the simulated model would have worked.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Fault::Status(300..=499 | 503 | 529)
                | Fault::RetryAfter(_)
                | Fault::InsufficientQuota
                | Fault::ContextLength
        )
    }

    /// Whether the simulated model works, and is to be paid, although its answer does not arrive whole.
    pub(super) fn is_billed(&self) -> bool {
        match self {
            Fault::Reply(canned) => (200..300).contains(&canned.status),
            Fault::Status(_) => false,
            _ => !self.is_refusal(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Status(status) => return status.fmt(f),
            Fault::Reply(canned) => return write!(f, "reply-{}", canned.status),
            Fault::RetryAfter(wait) => return write!(f, "429:{}ms", wait.as_millis()),
            Fault::InsufficientQuota => "insufficient-quota",
            Fault::ContextLength => "context-length",
            Fault::Reset => "reset",
            Fault::Close => "close",
            Fault::Stall => "stall",
            Fault::Malformed => "malformed",
            Fault::EmptyChoices => "empty-choices",
            Fault::Truncated => "truncated",
            Fault::Huge => "huge",
        })
    }
}

/// Why a text names no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a status from 300 to 599, 429:TIME, insufficient-quota, context-length, reset, close, stall, malformed, \
     empty-choices, truncated or huge"
)]
pub struct Unreadable;

impl FromStr for Fault {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let named = [
            Fault::InsufficientQuota,
            Fault::ContextLength,
            Fault::Reset,
            Fault::Close,
            Fault::Stall,
            Fault::Malformed,
            Fault::EmptyChoices,
            Fault::Truncated,
            Fault::Huge,
        ];
        if let Ok(status) = text.parse::<u16>() {
            return (300..=599)
                .contains(&status)
                .then_some(Fault::Status(status))
                .ok_or(Unreadable);
        }
        if let Some(wait) = text.strip_prefix("429:") {
            let wait = humantime::parse_duration(wait).map_err(|_| Unreadable)?;
            return Ok(Fault::RetryAfter(wait));
        }
        named
            .into_iter()
            .find(|fault| fault.to_string() == text)
            .ok_or(Unreadable)
    }
}

/// A plan of faults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Faults and how likely each is, from 0 to 1; together at most 1.
    pub rates: Vec<(Fault, f64)>,
    /// Faults of certain calls: of the first admitted one since the plan is in force, the second, and so on.
    pub schedule: BTreeMap<u64, Fault>,
    /// Faults by number and by time; of those that name a call, the first one counts.
    pub rules: Vec<Rule>,
    /// Only this many calls with the same prompt may fail by `rates`, so that a retry succeeds; none spares no call.
    pub first_attempts: Option<u32>,
}

impl Faults {
    /// The same fault for every call.
    pub fn always(fault: Fault) -> Self {
        Faults {
            rates: vec![(fault, 1.0)],
            ..Faults::default()
        }
    }

    /// Faults for the first calls, in this order; those after them succeed.
    pub fn in_order(faults: impl IntoIterator<Item = Fault>) -> Self {
        Faults {
            schedule: (1..).zip(faults).collect(),
            ..Faults::default()
        }
    }

    /// The fault of the call that is the `nth` admitted one, so long after the first, and the `attempt`th of its
    /// prompt, both from 1.
    pub(super) fn pick(
        &self,
        (nth, since): (u64, Duration),
        attempt: u32,
        rng: &mut SmallRng,
    ) -> Option<Fault> {
        let ruled = || self.rules.iter().find(|rule| rule.names(nth, since));
        let planned = self.schedule.get(&nth);
        if let Some(fault) = planned.or_else(|| Some(&ruled()?.fault)) {
            return Some(fault.clone());
        }
        if self.first_attempts.is_some_and(|first| attempt > first) {
            return None;
        }
        let mut left: f64 = rng.random();
        for (fault, rate) in &self.rates {
            if left < *rate {
                return Some(fault.clone());
            }
            left -= rate;
        }
        None
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.rules.iter().try_for_each(Rule::check)?;
        let rates = || self.rates.iter().map(|(_, rate)| rate);
        if !rates().all(|rate| (0.0..=1.0).contains(rate)) {
            return Err("a fault's rate is not between 0 and 1");
        }
        // Decimal fractions do not add up exactly.
        if rates().sum::<f64>() > 1.0 + 1e-9 {
            return Err("the rates of all faults together are above 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn faults_are_read_as_they_are_shown() {
        for text in [
            "500",
            "insufficient-quota",
            "reset",
            "stall",
            "truncated",
            "huge",
            "429:250ms",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            "429:89s".parse(),
            Ok(Fault::RetryAfter(Duration::from_secs(89)))
        );
        for bad in ["", "200", "600", "Reset", "explode", "429:", "429:soon"] {
            assert_eq!(bad.parse::<Fault>(), Err(Unreadable), "{bad}");
        }
    }

    #[test]
    fn rates_are_kept_and_later_attempts_spared() {
        let faults = Faults {
            rates: vec![(Fault::Status(500), 0.1), (Fault::Reset, 0.2)],
            first_attempts: Some(1),
            ..Faults::default()
        };
        let mut rng = SmallRng::seed_from_u64(7);
        let picked: Vec<_> = (1..=10_000)
            .map(|nth| faults.pick((nth, Duration::ZERO), 1, &mut rng))
            .collect();
        let count = |fault| picked.iter().filter(|picked| **picked == fault).count();
        assert!((900..1_100).contains(&count(Some(Fault::Status(500)))));
        assert!((1_850..2_150).contains(&count(Some(Fault::Reset))));
        assert!((1..=1_000).all(|nth| faults.pick((nth, Duration::ZERO), 2, &mut rng).is_none()));
    }

    #[test]
    fn a_schedule_names_its_calls() {
        let faults = Faults::in_order([Fault::Reset, Fault::Stall]);
        let mut rng = SmallRng::seed_from_u64(7);
        let picked: Vec<_> = (1..=3)
            .map(|nth| faults.pick((nth, Duration::ZERO), 9, &mut rng))
            .collect();
        assert_eq!(picked, [Some(Fault::Reset), Some(Fault::Stall), None]);
    }

    #[test]
    fn a_rule_holds_for_repeated_prompts_too() {
        let faults = Faults {
            rules: vec![Rule::new(Fault::Status(503))],
            first_attempts: Some(1),
            ..Faults::default()
        };
        let mut rng = SmallRng::seed_from_u64(7);
        let picked = faults.pick((1, Duration::ZERO), 2, &mut rng);
        assert_eq!(picked, Some(Fault::Status(503)));
    }

    #[test]
    fn only_what_the_model_worked_for_is_billed() {
        for fault in ["reset", "truncated", "malformed", "stall"] {
            assert!(fault.parse::<Fault>().unwrap().is_billed(), "{fault}");
        }
        for fault in [
            "500",
            "503",
            "429:1s",
            "insufficient-quota",
            "context-length",
        ] {
            assert!(!fault.parse::<Fault>().unwrap().is_billed(), "{fault}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rates in [vec![-0.1], vec![1.1], vec![f64::NAN], vec![0.6, 0.6]] {
            let rates = rates.into_iter().map(|rate| (Fault::Reset, rate)).collect();
            let faults = Faults {
                rates,
                ..Faults::default()
            };
            assert!(faults.check().is_err(), "{faults:?}");
        }
    }
}
