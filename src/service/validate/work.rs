//! Reads what a task is to do.

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::{
    Faults, Rules, Terms,
    request::{self, says_stream},
};
use crate::{
    model::{Kind, Work},
    proto::v1::{ChatCompletion, ChatMessage, FunctionCall, TaskSpec, task_spec},
};

const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
const MAX_STOPS: usize = 16;
/// What ChatCompletion has a field for. Two ways to say one thing would leave open which of them holds.
const TYPED: [&str; 9] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
];

/// What a task asks for.
#[derive(Debug)]
pub(in crate::service) struct Asked {
    /// What to do.
    pub(super) work: Work,
    /// By which model; empty for functions.
    pub(super) model: String,
    /// Whether the answer is to come as a stream.
    pub(super) stream: bool,
}

/// What a task asks for; none when a fault was noted.
///
/// `own` are the terms the task states itself, `terms` those with the call's defaults.
///
/// # Errors
/// The task needs something this server does not have yet.
pub(super) fn read(
    field: &str,
    task: &TaskSpec,
    own: &Terms,
    terms: &Terms,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Result<Option<Asked>, Status> {
    let default_model = terms.model.as_ref().unwrap_or(&rules.config.model);
    let read = match &task.work {
        None => {
            faults.add(
                field,
                "has no work; set prompt, chat_completion, openai_request or function_call",
            );
            None
        }
        Some(task_spec::Work::Prompt(text)) => {
            if text.is_empty() {
                faults.add(format!("{field}.prompt"), "is empty");
            }
            let text = text.clone();
            Some(Asked {
                work: Work::Prompt { text },
                model: default_model.clone(),
                stream: terms.stream.unwrap_or(false),
            })
        }
        Some(task_spec::Work::ChatCompletion(chat)) => {
            let field = format!("{field}.chat_completion");
            Some(completion(&field, chat, own, terms, default_model, faults))
        }
        Some(task_spec::Work::OpenaiRequest(request)) => {
            let field = format!("{field}.openai_request");
            request::read(&field, request, own, terms, rules, faults)?
        }
        Some(task_spec::Work::FunctionCall(call)) => {
            let field = format!("{field}.function_call");
            function(&field, call, own, rules, faults)
        }
    };
    if let Some(Asked { work, .. }) = &read {
        check_size(field, work, rules, faults);
    }
    Ok(read)
}

fn check_size(field: &str, work: &Work, rules: &Rules<'_>, faults: &mut Faults) {
    let (name, input) = match work {
        Work::Prompt { text } => ("prompt", text),
        Work::Request { body, .. } => ("openai_request.body", body),
        Work::Function { arguments, .. } => ("function_call.arguments", arguments),
    };
    let (bytes, most) = (input.len(), rules.config.limits.task_bytes);
    if bytes > most {
        faults.add(
            format!("{field}.{name}"),
            format!("has {bytes} bytes, at most {most} a task"),
        );
    }
}

fn completion(
    field: &str,
    chat: &ChatCompletion,
    own: &Terms,
    terms: &Terms,
    default_model: &str,
    faults: &mut Faults,
) -> Asked {
    if let (Some(option), false) = (&own.model, chat.model.is_empty())
        && *option != chat.model
    {
        faults.add(
            format!("{field}.model"),
            "differs from the task's options.model; state one of them",
        );
    }
    let model = if chat.model.is_empty() {
        default_model
    } else {
        &chat.model
    };
    if chat.messages.is_empty() {
        faults.add(format!("{field}.messages"), "is empty");
    }
    let messages: Vec<Value> = chat
        .messages
        .iter()
        .enumerate()
        .map(|(index, message)| {
            read_message(&format!("{field}.messages[{index}]"), message, faults)
        })
        .collect();
    let mut body = Map::new();
    body.insert("model".into(), json!(model));
    body.insert("messages".into(), messages.into());
    sampling(field, chat, &mut body, faults);
    let stream = terms.stream.unwrap_or(false);
    extra(field, &chat.extra_body, stream, &mut body, faults);
    let work = Work::Request {
        path: Kind::Chat.path().into(),
        body: Value::Object(body).to_string(),
    };
    Asked {
        work,
        model: model.to_owned(),
        stream,
    }
}

fn read_message(field: &str, message: &ChatMessage, faults: &mut Faults) -> Value {
    if !ROLES.contains(&message.role.as_str()) {
        let roles = ROLES.join(", ");
        faults.add(format!("{field}.role"), format!("must be one of {roles}"));
    }
    let mut body = Map::new();
    body.insert("role".into(), json!(message.role));
    body.insert("content".into(), json!(message.content));
    for (name, value) in [
        ("name", &message.name),
        ("tool_call_id", &message.tool_call_id),
    ] {
        if !value.is_empty() {
            body.insert(name.into(), json!(value));
        }
    }
    Value::Object(body)
}

fn sampling(
    field: &str,
    chat: &ChatCompletion,
    body: &mut Map<String, Value>,
    faults: &mut Faults,
) {
    let ranges = [
        ("temperature", chat.temperature, 0.0, 2.0),
        ("top_p", chat.top_p, 0.0, 1.0),
        ("presence_penalty", chat.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", chat.frequency_penalty, -2.0, 2.0),
    ];
    for (name, value, least, most) in ranges {
        let Some(value) = value else { continue };
        // Written so that NaN is a fault too.
        if !(least..=most).contains(&value) {
            faults.add(
                format!("{field}.{name}"),
                format!("must be from {least} to {most}"),
            );
        }
        body.insert(name.into(), json!(value));
    }
    if let Some(most) = chat.max_tokens {
        if most == 0 {
            faults.add(format!("{field}.max_tokens"), "must be at least 1");
        }
        body.insert("max_tokens".into(), json!(most));
    }
    if let Some(seed) = chat.seed {
        body.insert("seed".into(), json!(seed));
    }
    if chat.stop.len() > MAX_STOPS {
        faults.add(
            format!("{field}.stop"),
            format!("has {} sequences, at most {MAX_STOPS}", chat.stop.len()),
        );
    }
    if !chat.stop.is_empty() {
        body.insert("stop".into(), json!(chat.stop));
    }
}

fn extra(
    field: &str,
    text: &str,
    stream: bool,
    body: &mut Map<String, Value>,
    faults: &mut Faults,
) {
    if text.is_empty() {
        return;
    }
    let field = format!("{field}.extra_body");
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else {
        faults.add(field, "is not a JSON object");
        return;
    };
    if says_stream(&members) || (stream && members.contains_key("stream")) {
        let description = "`stream` has an option of its own; set options.stream_output";
        faults.add(&field, description);
    }
    for (name, value) in members {
        if TYPED.contains(&name.as_str()) {
            faults.add(
                &field,
                format!("`{name}` has a field of its own; set it there"),
            );
        }
        body.insert(name, value);
    }
}

fn function(
    field: &str,
    call: &FunctionCall,
    own: &Terms,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Option<Asked> {
    if rules.functions.find(&call.name).is_none() {
        let known: Vec<&str> = rules.functions.names().collect();
        let known = known.join(", ");
        faults.add(
            format!("{field}.name"),
            format!("no such function is registered; there are: {known}"),
        );
    }
    if own.model.is_some() {
        faults.add(field, "a function has no model; leave options.model empty");
    }
    if own.stream == Some(true) {
        faults.add(
            field,
            "a function is not streamed; leave options.stream_output unset",
        );
    }
    if own.caches() {
        faults.add(
            field,
            "a function always runs; leave options.cache and options.cache_max_age out, or set BYPASS",
        );
    }
    let arguments = match call.arguments.as_str() {
        "" => "null",
        text => text,
    };
    if serde_json::from_str::<IgnoredAny>(arguments).is_err() {
        faults.add(format!("{field}.arguments"), "is not JSON");
    }
    let work = Work::Function {
        name: call.name.clone(),
        arguments: arguments.to_owned(),
    };
    Some(Asked {
        work,
        model: String::new(),
        stream: false,
    })
}
