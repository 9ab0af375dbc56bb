//! What a call will cost in tokens, before anybody has counted them.

use std::collections::VecDeque;

use super::float;

/// English text has about four bytes a token.
const TOKENS_PER_BYTE: f64 = 0.25;
/// How much of the estimate one more answer replaces.
const WEIGHT: f64 = 0.1;
/// Errors add up as chance does; beyond so many times the average they are rare.
const MARGIN: f64 = 2.0;
/// Answers looked back at.
const REMEMBERED: usize = 50;
/// Assumed length of an answer before there was one.
const FIRST_COMPLETION: f64 = 256.0;

/// Learns from what answers have really used.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    tokens_per_byte: f64,
    completions: VecDeque<f64>,
    /// By how much one call was misjudged, on average.
    error: f64,
    /// Above zero: the fall of what remains is nearer to what calls reserve than to what they use.
    charges_reserved: f64,
}

impl Default for Estimate {
    fn default() -> Self {
        Estimate {
            tokens_per_byte: TOKENS_PER_BYTE,
            completions: VecDeque::with_capacity(REMEMBERED),
            error: 0.0,
            // Until something else is seen: it is what costs no 429.
            charges_reserved: 1.0,
        }
    }
}

impl Estimate {
    /// What to reserve for a call with this many bytes, which asks for at most `max_tokens` in its answer.
    pub(crate) fn cost(&self, bytes: usize, max_tokens: Option<u64>) -> f64 {
        self.prompt(bytes) + self.answer(max_tokens)
    }

    /// Whether the upstream takes what a call may use, rather than what it did use.
    pub(crate) fn is_charged_reserved(&self) -> bool {
        self.charges_reserved > 0.0
    }

    /// By how much so many calls together may have been misjudged.
    pub(crate) fn margin(&self, calls: f64) -> f64 {
        MARGIN * self.error * calls.max(0.0).sqrt()
    }

    /// An answer came: so many tokens of prompt and of answer for a call with this many bytes, for which `expected`
    /// had been reserved.
    pub(crate) fn learn(&mut self, bytes: usize, prompt: u64, answer: u64, expected: f64) {
        let charged = match self.is_charged_reserved() {
            true => expected - self.prompt(bytes) + float(prompt),
            false => float(prompt.saturating_add(answer)),
        };
        self.error += WEIGHT * ((charged - expected).abs() - self.error);
        if bytes > 0 && prompt > 0 {
            let seen = float(prompt) / float(bytes as u64);
            self.tokens_per_byte += WEIGHT * (seen - self.tokens_per_byte);
        }
        if self.completions.len() == REMEMBERED {
            self.completions.pop_front();
        }
        self.completions.push_back(float(answer));
    }

    /// What remained fell by `fall` tokens when a call was let in that may use `reserved` and did use `used`.
    pub(crate) fn compare(&mut self, fall: f64, reserved: f64, used: f64) {
        let (far, near) = ((fall - reserved).abs(), (fall - used).abs());
        let between = (reserved - used).abs();
        if between < 1.0 || far.min(near) > between {
            return;
        }
        let vote = if far < near { 1.0 } else { -1.0 };
        self.charges_reserved += WEIGHT * (vote - self.charges_reserved);
    }

    /// The prompt's part of [`Estimate::cost`].
    pub(crate) fn prompt(&self, bytes: usize) -> f64 {
        (float(bytes as u64) * self.tokens_per_byte).ceil()
    }

    fn answer(&self, max_tokens: Option<u64>) -> f64 {
        match max_tokens.map(float) {
            Some(most) if self.is_charged_reserved() => most,
            Some(most) => self.usual_answer().min(most),
            None => self.usual_answer(),
        }
    }

    /// No more than this in 95 of 100 answers.
    fn usual_answer(&self) -> f64 {
        let mut sorted: Vec<f64> = self.completions.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or(FIRST_COMPLETION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_what_was_used() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.cost(400, None), 100.0 + FIRST_COMPLETION);
        for answer in 1..=100 {
            estimate.learn(400, 200, answer, 456.0);
        }
        assert!((195.0..=200.0).contains(&estimate.prompt(400)));
        assert_eq!(estimate.cost(0, None), 98.0, "the 95th of a hundred");
        assert_eq!(estimate.cost(0, Some(7)), 7.0);
        assert_eq!(estimate.cost(0, Some(1_000)), 1_000.0);
    }

    #[test]
    fn how_the_upstream_charges_is_seen_by_what_remains() {
        let mut estimate = Estimate::default();
        estimate.learn(400, 100, 50, 150.0);
        for _ in 0..10 {
            estimate.compare(150.0, 1_100.0, 150.0);
        }
        assert!(!estimate.is_charged_reserved());
        assert_eq!(estimate.cost(0, Some(1_000)), 50.0);
        for _ in 0..20 {
            // Neither: somebody else took part.
            estimate.compare(90_000.0, 1_100.0, 150.0);
        }
        assert!(!estimate.is_charged_reserved());
        for _ in 0..10 {
            estimate.compare(1_090.0, 1_100.0, 150.0);
        }
        assert!(estimate.is_charged_reserved());
    }
}
