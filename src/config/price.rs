//! What the models' tokens cost: `[prices."MODEL"]` with the prices of a million tokens.

use toml::{Table, Value};

use super::{fault::Faults, layers::Layers};
use crate::model::{Price, Prices};

/// The table's name.
pub(super) const TABLE: &str = "prices";
/// No million of tokens costs more; such a price is a slip of the keyboard.
const MOST: f64 = 1e6;
/// What a price may say.
const MEMBERS: &str = "`input`, `cached_input` (as `input` when left out) and `output`, each for a million tokens, and \
     `max_output_tokens`, the most that one answer has, for batches with a budget";
/// The bound of an answer.
const MOST_OUT: &str = "max_output_tokens";
/// What a table may say.
const NAMES: [&str; 4] = ["input", "cached_input", "output", MOST_OUT];

/// The prices in the file; none are none.
pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Prices {
    let Some((value, path)) = layers.prices() else {
        return Prices::default();
    };
    let place = |name: &str| format!("{}: {name}", path.display());
    let Value::Table(models) = value else {
        faults.add(
            place(TABLE),
            format!("is no table; write [prices.\"MODEL\"] with {MEMBERS}"),
        );
        return Prices::default();
    };
    let mut prices = Vec::new();
    for (model, value) in models {
        match value.as_table().map(price) {
            Some(Ok(price)) => prices.push((model.clone(), price)),
            Some(Err(message)) => faults.add(place(&format!("{TABLE}.{model}")), message),
            None => faults.add(
                place(&format!("{TABLE}.{model}")),
                format!("is no table; it has {MEMBERS}"),
            ),
        }
    }
    prices.into_iter().collect()
}

fn price(table: &Table) -> Result<Price, String> {
    if let Some(name) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("`{name}` is no price; a model has {MEMBERS}"));
    }
    let member = |name: &str| table.get(name).map(|value| amount(name, value)).transpose();
    let missing = |name: &str| format!("has no `{name}`; a model has {MEMBERS}");
    let input = member("input")?.ok_or_else(|| missing("input"))?;
    Ok(Price {
        input,
        cached_input: member("cached_input")?.unwrap_or(input),
        output: member("output")?.ok_or_else(|| missing("output"))?,
        max_output_tokens: table.get(MOST_OUT).map(tokens).transpose()?,
    })
}

fn tokens(value: &Value) -> Result<u64, String> {
    let number = value.as_integer().filter(|number| *number > 0);
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("`{MOST_OUT}` is not a whole number above 0"))
}

/// A price for a million in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within bounds that fit"
)]
fn amount(name: &str, value: &Value) -> Result<u64, String> {
    let number = match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    number
        .filter(|number| (0.0..=MOST).contains(number))
        .map(|number| (number * 1e6).round() as u64)
        .ok_or_else(|| format!("`{name}` is not a number from 0 to {MOST}"))
}

/// All prices in one line.
pub(super) fn shown(prices: &Prices) -> String {
    let million = |price: u64| format!("{}", price as f64 / 1e6);
    let shown: Vec<String> = prices
        .iter()
        .map(|(model, price)| {
            let most = price.max_output_tokens;
            let most = most.map_or_else(String::new, |most| format!(" up to {most}"));
            format!(
                "{model}: {} in, {} cached, {} out{most}",
                million(price.input),
                million(price.cached_input),
                million(price.output)
            )
        })
        .collect();
    match shown.is_empty() {
        true => "none".to_owned(),
        false => shown.join("; "),
    }
}
