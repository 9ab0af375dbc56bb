//! Reads a raw request: whether it could be answered at all. The rest of its body is between its sender and the upstream.

use serde_json::{Map, Value};
use tonic::Status;

use super::{Faults, Rules, Terms, work::Asked};
use crate::{
    model::{Kind, Work},
    proto::v1::OpenAiRequest,
    service::error,
};

/// What a raw request asks for; none when a fault was noted. `own` are the terms its task states itself, `terms` those
/// with the call's defaults.
///
/// # Errors
/// Its path is none of those that are served.
pub(super) fn read(
    field: &str,
    request: &OpenAiRequest,
    own: &Terms,
    terms: &Terms,
    rules: &Rules<'_>,
    faults: &mut Faults,
) -> Result<Option<Asked>, Status> {
    let path_field = format!("{field}.path");
    if request.path.is_empty() {
        faults.add(path_field, format!("is empty; use one of {}", served()));
        return Ok(None);
    }
    let Some(kind) = Kind::of_path(&request.path) else {
        let description = format!("is not served; use one of {}", served());
        return Err(error::unimplemented(&path_field, &description));
    };
    let body_field = format!("{field}.body");
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(&request.body) else {
        faults.add(body_field, "is not a JSON object");
        return Ok(None);
    };
    let default_model = terms.model.as_ref().unwrap_or(&rules.config.model);
    let model = read_model(&body_field, &members, own, default_model, faults);
    check_input(&body_field, kind, &members, faults);
    let stream = if kind.is_streamed() {
        let says = says_stream(&members);
        check_stream(&body_field, says, own, terms, faults);
        says
    } else {
        // A default of the call is for the tasks that it fits.
        if own.stream == Some(true) {
            faults.add(
                field,
                format!(
                    "answers of /v1{} do not come as streams; leave options.stream_output unset",
                    kind.path()
                ),
            );
        }
        false
    };
    let work = Work::Request {
        path: kind.path().to_owned(),
        body: request.body.clone(),
    };
    Ok(Some(Asked {
        work,
        model,
        stream,
    }))
}

/// All paths that are served, for people.
fn served() -> String {
    Kind::ALL
        .map(|kind| format!("/v1{}", kind.path()))
        .join(", ")
}

fn read_model(
    field: &str,
    members: &Map<String, Value>,
    own: &Terms,
    default_model: &str,
    faults: &mut Faults,
) -> String {
    let model = members.get("model").and_then(Value::as_str).unwrap_or("");
    if model.is_empty() {
        faults.add(
            field,
            format!(
                "names no model and is never changed; add \"model\": \"{default_model}\" to it"
            ),
        );
    } else if own.model.as_ref().is_some_and(|wanted| wanted != model) {
        // A default of the call is for the tasks that name no model; this one does.
        faults.add(
            field,
            "names another model than the task's options.model; state one of them",
        );
    }
    model.to_owned()
}

fn check_input(field: &str, kind: Kind, members: &Map<String, Value>, faults: &mut Faults) {
    let has = |name: &&str| members.get(*name).is_some_and(|value| !value.is_null());
    if !kind.inputs().iter().any(has) {
        let names = kind.inputs().join("` or `");
        faults.add(
            field,
            format!("has no `{names}`, which /v1{} needs", kind.path()),
        );
    }
    if let Some(member) = kind.deferred_by()
        && members.get(member).is_some_and(|value| *value == true)
    {
        faults.add(
            field,
            format!(
                "says \"{member}\": true, and what is answered in the background is not in the reply; leave it out: \
                 the task itself runs in the background"
            ),
        );
    }
}

/// Whether a body asks for a stream.
pub(super) fn says_stream(members: &Map<String, Value>) -> bool {
    members.get("stream").is_some_and(|stream| *stream == true)
}

/// A body is never changed: what the options say of streaming must be what it says.
fn check_stream(field: &str, says: bool, own: &Terms, terms: &Terms, faults: &mut Faults) {
    if !says && terms.stream == Some(true) {
        faults.add(
            field,
            "is to be streamed and is never changed; add \"stream\": true to it",
        );
    }
    if says && own.stream == Some(false) {
        faults.add(
            field,
            "says \"stream\": true against the task's options.stream_output; state one of them",
        );
    }
}
