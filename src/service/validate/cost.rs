//! What one call of a task may cost at most: what the budget of its batch holds ready for it.
//!
//! Tokens of the input are bounded by its bytes, since no tokenizer makes more tokens than there are bytes; those of the
//! output by what the task or the price says. What has no such bound cannot be part of a batch with a budget.

use serde_json::{Map, Value};

use super::{Faults, Rules};
use crate::model::{Kind, Price, Spec, Usage, Work};

/// Tokens that a chat template may add to what the body says: markers of messages, a default system prompt.
const HIDDEN: u64 = 256;
/// And what it may add to explain tools.
const HIDDEN_WITH_TOOLS: u64 = 1_024;
/// By which names a body bounds its output.
const OUTPUT_BOUNDS: [&str; 3] = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
/// How many answers a body may ask for.
const ANSWERS: [&str; 2] = ["n", "best_of"];
/// Members whose price nobody knows beforehand.
const UNBOUNDED: [&str; 4] = [
    "audio",
    "conversation",
    "previous_response_id",
    "web_search_options",
];

/// The tokens that one call may use at most.
struct Bound {
    input: u64,
    output: u64,
}

/// Fills in what one call of the task may cost, or notes why it cannot be part of a batch with this budget.
pub(super) fn fill_in(
    field: &str,
    spec: &mut Spec,
    budget: u64,
    rules: &Rules<'_>,
    faults: &mut Faults,
) {
    match most(spec, rules) {
        Ok(most) if most > budget => faults.add(
            field,
            format!(
                "may cost {}, more than the whole budget of {}; set a higher budget_nanos, or a lower max_tokens in the task",
                money(most),
                money(budget)
            ),
        ),
        // Rounded up: what is held ready must never be too little.
        Ok(most) => match u32::try_from(most.div_ceil(1_000)) {
            Ok(micros) => spec.max_cost_micros = micros,
            Err(_) => faults.add(field, format!("may cost {}, which is too much for one call", money(most))),
        },
        Err(fault) => faults.add(field, fault),
    }
}

/// In billionths of the currency.
fn most(spec: &Spec, rules: &Rules<'_>) -> Result<u64, String> {
    if !spec.work.is_upstream() {
        return Ok(0);
    }
    let model = &spec.model;
    let price = rules.config.prices.find(model, "").ok_or_else(|| {
        format!(
            "is part of a batch with a budget, and its model `{model}` has no price; \
             add [prices.\"{model}\"] to the server's configuration"
        )
    })?;
    let bound = bound(&spec.work, model, price)?;
    let dearest = Price {
        input: price.input.max(price.cached_input),
        ..*price
    };
    Ok(dearest.of(&Usage {
        input_tokens: bound.input,
        output_tokens: bound.output,
        ..Usage::default()
    }))
}

fn bound(work: &Work, model: &str, price: &Price) -> Result<Bound, String> {
    let said = match work {
        Work::Request { path, body } => Said::read(path, body)?,
        Work::Prompt { .. } | Work::Function { .. } => Said {
            answers: 1,
            ..Said::default()
        },
    };
    let input = work.bytes() + said.hidden();
    // A free answer may be as long as it likes, and some calls have none.
    let output = if price.output == 0 || said.is_without_output {
        0
    } else {
        let each = said.output.or(price.max_output_tokens).ok_or_else(|| {
            format!(
                "is part of a batch with a budget and does not say how long its answer may become; \
                 set max_completion_tokens in the task, or max_output_tokens in the server's [prices.\"{model}\"]"
            )
        })?;
        each.saturating_mul(said.answers)
            .saturating_add(said.predicted)
    };
    Ok(Bound { input, output })
}

/// What a body says about its cost.
#[derive(Default)]
struct Said {
    output: Option<u64>,
    answers: u64,
    has_tools: bool,
    /// Tokens of a predicted answer that are paid for even where the answer differs.
    predicted: u64,
    is_without_output: bool,
}

impl Said {
    fn read(path: &str, body: &str) -> Result<Said, String> {
        // It was found to be an object before.
        let members: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
        if let Some(name) = unbounded(&members) {
            return Err(format!(
                "is part of a batch with a budget, and what its `{name}` costs cannot be told beforehand; \
                 submit it without a budget"
            ));
        }
        let numbers = |names: &[&str]| {
            let stated = names.iter().filter_map(|name| members.get(*name)?.as_u64());
            stated.max()
        };
        let prompts = match members.get("prompt") {
            Some(Value::Array(prompts)) if !prompts.iter().all(Value::is_number) => prompts.len(),
            _ => 1,
        };
        Ok(Said {
            output: numbers(&OUTPUT_BOUNDS),
            answers: numbers(&ANSWERS)
                .unwrap_or(1)
                .max(1)
                .saturating_mul(prompts as u64),
            has_tools: members.get("tools").or(members.get("functions")).is_some(),
            predicted: match members.get("prediction") {
                Some(_) => body.len() as u64,
                None => 0,
            },
            is_without_output: Kind::of_path(path).is_some_and(|kind| !kind.is_sampled()),
        })
    }

    fn hidden(&self) -> u64 {
        match self.has_tools {
            true => HIDDEN_WITH_TOOLS,
            false => HIDDEN,
        }
    }
}

/// The member whose cost no bytes bound, if there is one.
fn unbounded(members: &Map<String, Value>) -> Option<&str> {
    members
        .iter()
        .find(|(name, value)| match name.as_str() {
            _ if value.is_null() => false,
            "messages" | "input" => holds_media(value),
            "tools" => has_hosted_tool(value),
            "prompt" => value.is_object(),
            name => UNBOUNDED.contains(&name),
        })
        .map(|(name, _)| name.as_str())
}

/// Images, files and sound: a short link may stand for many tokens.
fn holds_media(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_media),
        Value::Object(members) => members.iter().any(|(name, value)| match value {
            Value::String(kind) if name == "type" => ["image", "file", "audio", "video"]
                .iter()
                .any(|media| kind.contains(media)),
            other => holds_media(other),
        }),
        _ => false,
    }
}

/// Tools that the provider runs, and charges for.
fn has_hosted_tool(tools: &Value) -> bool {
    let is_own = |tool: &Value| {
        let kind = tool.get("type").and_then(Value::as_str);
        kind.is_none_or(|kind| matches!(kind, "function" | "custom"))
    };
    tools
        .as_array()
        .is_some_and(|tools| !tools.iter().all(is_own))
}

/// Billionths of the currency as a person reads them.
pub(in crate::service) fn money(nanos: u64) -> String {
    format!(
        "{}.{:06}",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000 / 1_000
    )
}

#[cfg(test)]
mod tests;
