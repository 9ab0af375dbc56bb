//! How long simulated answers are.

use std::str::FromStr;

use rand::{RngExt, rngs::SmallRng};

/// No answer is longer than this, which is what the longest `max_tokens` asks for.
const LONGEST: u64 = 1_000_000;

/// Lengths of answers in tokens, drawn evenly between two bounds. As text: `200`, or `50..800`. An answer is never too
/// short to begin with what it has to say, and never longer than the call's `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerTokens {
    /// The fewest.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl AnswerTokens {
    pub(super) fn draw(self, rng: &mut SmallRng) -> u64 {
        rng.random_range(self.min..=self.max)
    }

    pub(super) fn check(self) -> Result<(), &'static str> {
        if self.min > self.max {
            return Err("the shortest answer is longer than the longest");
        }
        if self.max > LONGEST {
            return Err("an answer is longer than 1000000 tokens");
        }
        Ok(())
    }
}

impl FromStr for AnswerTokens {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let count = |text: &str| text.trim().parse().map_err(|_| "expected 200 or 50..800");
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let tokens = AnswerTokens {
            min: count(min)?,
            max: count(max)?,
        };
        tokens.check()?;
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn lengths_are_drawn_between_their_bounds() {
        let tokens: AnswerTokens = "50..800".parse().unwrap();
        let mut rng = SmallRng::seed_from_u64(3);
        let drawn: Vec<u64> = (0..1_000).map(|_| tokens.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|count| (50..=800).contains(count)));
        let mean = drawn.iter().sum::<u64>() / 1_000;
        assert!((400..450).contains(&mean), "{mean}");
        assert_eq!("200".parse(), Ok(AnswerTokens { min: 200, max: 200 }));
        for bad in ["", "long", "800..50", "1..2000000", "-1"] {
            assert!(bad.parse::<AnswerTokens>().is_err(), "{bad}");
        }
    }
}
