//! Answers of tasks that want them checked: by the JSON schema that their request carries.

use std::time::Duration;

use serde_json::Value;

use crate::model::{
    Budget, ErrorCode, Failed, Failure, Outcome, Recourse, Schema, Spec, Wait, schema::Misfit,
};

/// What an upstream answers with when it gave an answer.
const OK: u16 = 200;
/// Members of a message by which it says something other than its text.
const CALLS: [&str; 3] = ["tool_calls", "function_call", "audio"];
/// Items of a response that leave what is said to its text.
const TEXT_ITEMS: [&str; 2] = ["message", "reasoning"];

/// Why an answer is not good, or `Ok` for one that is, or that nobody wants checked.
pub(super) fn check(spec: &Spec, outcome: &Outcome) -> Result<(), Failed> {
    // What was cut off, filtered or refused says so itself.
    if spec.validation_retries.is_none() || !outcome.is_shareable() || is_call(outcome) {
        return Ok(());
    }
    let schema = Schema::stated(&spec.work).and_then(|stated| Schema::new(stated).ok());
    let Some(schema) = schema else {
        return Err(failed(
            "the answer was not checked: the worker that ran the task cannot read the JSON schema of its request",
            outcome,
            Recourse::Never,
        ));
    };
    let Err(misfit) = schema.check(&outcome.text) else {
        return Ok(());
    };
    Err(failed(&message(&misfit), outcome, AGAIN))
}

/// The same call at once: answers are drawn by chance, and waiting changes nothing.
const AGAIN: Recourse = Recourse::Retry {
    budget: Budget::Validation,
    wait: Wait::Told(Duration::ZERO),
};

fn message(misfit: &Misfit) -> String {
    format!("the answer does not fit the JSON schema of its request: {misfit}")
}

fn failed(message: &str, outcome: &Outcome, recourse: Recourse) -> Failed {
    Failed {
        failure: Failure {
            http_status: OK,
            maybe_billed: true,
            cost_nanos: outcome.usage.cost_nanos,
            ..Failure::new(ErrorCode::OutputSchemaInvalid, message)
        },
        recourse,
    }
}

/// Whether the model calls tools, or speaks, instead of writing an answer.
fn is_call(outcome: &Outcome) -> bool {
    if !outcome.text.is_empty() {
        return false;
    }
    let body: Value = serde_json::from_str(&outcome.body).unwrap_or_default();
    let message = &body["choices"][0]["message"];
    let calls = CALLS.iter().any(|name| match &message[*name] {
        Value::Array(calls) => !calls.is_empty(),
        call => call.is_object(),
    });
    let items = body["output"].as_array();
    let other = |item: &Value| {
        let kind = item["type"].as_str();
        kind.is_some_and(|kind| !TEXT_ITEMS.contains(&kind))
    };
    calls || items.is_some_and(|items| items.iter().any(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_that_are_called_stand_in_place_of_a_text() {
        for (text, body, expected) in [
            (
                "",
                json!({"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]}),
                true,
            ),
            (
                "",
                json!({"choices": [{"message": {"function_call": {"name": "f"}}}]}),
                true,
            ),
            (
                "",
                json!({"choices": [{"message": {"tool_calls": []}}]}),
                false,
            ),
            (
                "x",
                json!({"choices": [{"message": {"tool_calls": [{"id": "1"}]}}]}),
                false,
            ),
            (
                "",
                json!({"output": [{"type": "reasoning"}, {"type": "function_call"}]}),
                true,
            ),
            (
                "",
                json!({"output": [{"type": "reasoning"}, {"type": "message"}]}),
                false,
            ),
            ("", json!("no object"), false),
        ] {
            let outcome = Outcome {
                text: text.to_owned(),
                body: body.to_string(),
                ..Outcome::default()
            };
            assert_eq!(is_call(&outcome), expected, "{text:?} {body}");
        }
    }
}
