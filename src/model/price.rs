//! What calls cost: prices by model, and money in whole numbers. Pure.

use std::collections::BTreeMap;

use super::outcome::Usage;

/// What one token costs, in billionths of a thousandth of the currency: the millionths of a price for a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// A token read.
    pub input: u64,
    /// A token read that the provider had in its prompt cache.
    pub cached_input: u64,
    /// A token generated.
    pub output: u64,
    /// The most tokens that the model generates for one answer, where a task does not say.
    pub max_output_tokens: Option<u64>,
}

impl Price {
    /// What this usage costs, in billionths of the currency, rounded up.
    pub fn of(&self, usage: &Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let sum: u128 = [
            (usage.input_tokens - cached, self.input),
            (cached, self.cached_input),
            (usage.output_tokens, self.output),
        ]
        .into_iter()
        .map(|(tokens, each)| u128::from(tokens) * u128::from(each))
        .sum();
        u64::try_from(sum.div_ceil(1_000)).unwrap_or(u64::MAX)
    }
}

/// Prices by model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// The price of a model: of the name it was asked for by, else of the one it answered under.
    pub fn find(&self, asked: &str, answered: &str) -> Option<&Price> {
        self.named(asked, answered).map(|(_, price)| price)
    }

    /// The same, with the name under which it stands.
    pub fn named(&self, asked: &str, answered: &str) -> Option<(&str, &Price)> {
        let found = self.0.get_key_value(asked);
        let (model, price) = found.or_else(|| self.0.get_key_value(answered))?;
        Some((model, price))
    }

    /// All of them by model.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.0.iter().map(|(model, price)| (model.as_str(), price))
    }
}

impl FromIterator<(String, Price)> for Prices {
    fn from_iter<I: IntoIterator<Item = (String, Price)>>(prices: I) -> Self {
        Prices(prices.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0.15, 0.075 and 0.60 a million.
    const SMALL: Price = Price {
        input: 150_000,
        cached_input: 75_000,
        output: 600_000,
        max_output_tokens: None,
    };

    fn usage(input: u64, cached: u64, output: u64) -> Usage {
        Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            output_tokens: output,
            ..Usage::default()
        }
    }

    #[test]
    fn a_million_tokens_cost_the_price() {
        assert_eq!(SMALL.of(&usage(1_000_000, 0, 0)), 150_000_000);
        assert_eq!(SMALL.of(&usage(0, 0, 1_000_000)), 600_000_000);
        assert_eq!(SMALL.of(&usage(1_000_000, 1_000_000, 0)), 75_000_000);
        assert_eq!(SMALL.of(&usage(3, 1, 5)), 2 * 150 + 75 + 5 * 600);
    }

    #[test]
    fn what_is_less_than_a_billionth_is_rounded_up_and_odd_counts_do_no_harm() {
        let cheap = Price {
            input: 1,
            ..Price::default()
        };
        assert_eq!(cheap.of(&usage(1, 0, 0)), 1);
        assert_eq!(cheap.of(&usage(1_001, 0, 0)), 2);
        assert_eq!(cheap.of(&usage(0, 0, 0)), 0);
        assert_eq!(SMALL.of(&usage(1, u64::MAX, 0)), 75);
        assert_eq!(SMALL.of(&usage(u64::MAX, 0, u64::MAX)), u64::MAX);
    }

    #[test]
    fn the_name_that_was_asked_for_comes_first() {
        let named = |name: &str, input| {
            let price = Price {
                input,
                ..Price::default()
            };
            (name.to_owned(), price)
        };
        let prices: Prices = [named("small", 1), named("small-2026", 2)]
            .into_iter()
            .collect();
        let input = |asked, answered| prices.find(asked, answered).map(|price| price.input);
        assert_eq!(input("small", "small-2026"), Some(1));
        assert_eq!(input("other", "small-2026"), Some(2));
        assert_eq!(input("other", "unknown"), None);
    }
}
