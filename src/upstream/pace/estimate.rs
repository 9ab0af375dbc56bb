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
/// A server that counts more than this for a prompt or an answer has miscounted.
const MOST: u64 = 10_000_000;
/// Nor has a byte more tokens than this, but for pictures behind a link.
const MOST_PER_BYTE: f64 = 16.0;
/// Assumed length of an answer before there was one.
const FIRST_COMPLETION: f64 = 256.0;

/// What an upstream takes from a quota of tokens for a call, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// At once, what prompt and answer may have together, as at Azure.
    Sum,
    /// At once, the larger of the two, as at OpenAI.
    Larger,
    /// After the answer, what was used.
    Used,
}

const RULES: [Rule; 3] = [Rule::Sum, Rule::Larger, Rule::Used];

/// Learns from what answers have really used.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    tokens_per_byte: f64,
    completions: VecDeque<f64>,
    /// By how much one call was misjudged, on average.
    error: f64,
    /// How far each rule was lately from what was charged, by [`Rule`], as a share of what they differ by.
    misses: [f64; 3],
}

impl Default for Estimate {
    fn default() -> Self {
        Estimate {
            tokens_per_byte: TOKENS_PER_BYTE,
            completions: VecDeque::with_capacity(REMEMBERED),
            error: 0.0,
            // The first, until something else is seen: it is what costs no 429.
            misses: [0.0, 0.5, 0.5],
        }
    }
}

impl Estimate {
    /// What to reserve for a call with this many bytes, which asks for at most `max_tokens` in its answer.
    pub(crate) fn cost(&self, bytes: usize, max_tokens: Option<u64>) -> f64 {
        let (prompt, usual) = (self.prompt(bytes), self.usual_answer());
        let most = max_tokens.map(float);
        match self.rule() {
            Rule::Sum => prompt + most.unwrap_or(usual),
            Rule::Larger => prompt.max(most.unwrap_or(usual)),
            Rule::Used => prompt + most.map_or(usual, |most| usual.min(most)),
        }
    }

    /// Whether the upstream takes what a call may use, rather than what it did use.
    pub(crate) fn is_charged_reserved(&self) -> bool {
        self.rule() != Rule::Used
    }

    /// The rule that comes nearest to what is charged.
    fn rule(&self) -> Rule {
        let misses = RULES.into_iter().zip(self.misses);
        misses
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(Rule::Sum, |(rule, _)| rule)
    }

    /// By how much so many calls together may have been misjudged.
    pub(crate) fn margin(&self, calls: f64) -> f64 {
        MARGIN * self.error * calls.max(0.0).sqrt()
    }

    /// An answer came: so many tokens of prompt and of answer for a call with this many bytes, for which `expected`
    /// had been reserved.
    pub(crate) fn learn(&mut self, bytes: usize, prompt: u64, answer: u64, expected: f64) {
        if !Estimate::is_sane(prompt, answer) {
            return;
        }
        let charged = match self.is_charged_reserved() {
            true => expected - self.prompt(bytes) + float(prompt),
            false => float(prompt.saturating_add(answer)),
        };
        self.error += WEIGHT * ((charged - expected).abs() - self.error);
        if bytes > 0 && prompt > 0 {
            let seen = (float(prompt) / float(bytes as u64)).min(MOST_PER_BYTE);
            self.tokens_per_byte += WEIGHT * (seen - self.tokens_per_byte);
        }
        if self.completions.len() == REMEMBERED {
            self.completions.pop_front();
        }
        self.completions.push_back(float(answer));
    }

    /// Whether a call can have used so many tokens.
    pub(crate) fn is_sane(prompt: u64, answer: u64) -> bool {
        prompt <= MOST && answer <= MOST
    }

    /// What remained fell by `fall` tokens when a call was let in with this many bytes and at most so many tokens of
    /// answer, since the call before was; meanwhile answers came that had used `used`.
    pub(crate) fn compare(&mut self, fall: f64, bytes: usize, most: f64, used: f64) {
        let prompt = self.prompt(bytes);
        let charged = [prompt + most, prompt.max(most), used];
        let spread = charged.iter().copied().fold(0.0, f64::max)
            - charged.iter().copied().fold(f64::INFINITY, f64::min);
        let far = charged.map(|charged| (fall - charged).abs() / spread.max(1.0));
        // Further from all of them than they are from each other: somebody else took part.
        if far.iter().all(|far| *far > 1.0) {
            return;
        }
        for (miss, far) in self.misses.iter_mut().zip(far) {
            *miss += WEIGHT * (far.min(1.0) - *miss);
        }
    }

    /// The prompt's part of [`Estimate::cost`].
    pub(crate) fn prompt(&self, bytes: usize) -> f64 {
        (float(bytes as u64) * self.tokens_per_byte).ceil()
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
        let mut see = |fall: f64, used: f64| {
            for _ in 0..20 {
                estimate.compare(fall, 400, 1_000.0, used);
            }
            (
                estimate.is_charged_reserved(),
                estimate.cost(400, Some(1_000)),
            )
        };
        assert_eq!(see(0.0, 0.0), (false, 150.0), "charged after the answer");
        assert_eq!(
            see(90_000.0, 0.0),
            (false, 150.0),
            "somebody else took part"
        );
        assert_eq!(see(1_090.0, 0.0), (true, 1_100.0));
        assert_eq!(see(1_001.0, 0.0), (true, 1_000.0));
        assert_eq!(see(150.0, 150.0), (false, 150.0));
    }
}
