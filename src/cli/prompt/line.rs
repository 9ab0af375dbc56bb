//! One JSON line: a prompt with options, an OpenAI Batch request, or a record of a data set.

use super::{
    member::{Members, quoted, text},
    option,
};
use crate::proto::v1::{OpenAiRequest, TaskOptions, TaskSpec, task_spec::Work};

/// Reads a JSON line.
pub(super) fn read(line: &str, field: Option<&str>) -> Result<TaskSpec, String> {
    let members = Members::parse(line)?;
    if let Some(field) = field {
        return record(&members, field);
    }
    let is_batch_line = ["method", "url", "body"]
        .iter()
        .any(|name| members.get(name).is_some());
    if is_batch_line {
        batch_line(&members)
    } else {
        prompt_line(&members)
    }
}

/// `{"question": …, …}`: the other members belong to the data set, not to us.
fn record(members: &Members, field: &str) -> Result<TaskSpec, String> {
    let raw = members
        .get(field)
        .ok_or_else(|| format!("has no member {}", quoted(field)))?;
    Ok(TaskSpec {
        work: Some(Work::Prompt(text(field, raw)?)),
        ..TaskSpec::default()
    })
}

/// `{"prompt": …, "custom_id": …, "model": …}`.
fn prompt_line(members: &Members) -> Result<TaskSpec, String> {
    let mut spec = TaskSpec::default();
    let mut options = TaskOptions::default();
    for (name, raw) in &members.0 {
        match name.as_str() {
            "prompt" => spec.work = Some(Work::Prompt(text(name, raw)?)),
            "custom_id" => spec.custom_id = text(name, raw)?,
            _ => option::set(&mut options, name, raw)?,
        }
    }
    if spec.work.is_none() {
        return Err("has no member `prompt`; for a data set, name its member with --field".into());
    }
    spec.options = (options != TaskOptions::default()).then_some(options);
    Ok(spec)
}

/// `{"custom_id": …, "method": "POST", "url": …, "body": {…}}`; the body is passed on byte for byte.
fn batch_line(members: &Members) -> Result<TaskSpec, String> {
    let mut custom_id = None;
    let mut method = None;
    let mut url = None;
    let mut body = None;
    for (name, raw) in &members.0 {
        match name.as_str() {
            "custom_id" => custom_id = Some(text(name, raw)?),
            "method" => method = Some(text(name, raw)?),
            "url" => url = Some(text(name, raw)?),
            "body" if raw.get().starts_with('{') => body = Some(raw.get().to_owned()),
            "body" => return Err("member `body` must be a JSON object".to_owned()),
            _ => {
                return Err(format!(
                    "unknown member {} of an OpenAI Batch line; known are custom_id, method, url, body",
                    quoted(name)
                ));
            }
        }
    }
    let missing = |name: &str| format!("OpenAI Batch line has no member `{name}`");
    if method.ok_or_else(|| missing("method"))? != "POST" {
        return Err("member `method` must be POST".to_owned());
    }
    Ok(TaskSpec {
        custom_id: custom_id.ok_or_else(|| missing("custom_id"))?,
        work: Some(Work::OpenaiRequest(OpenAiRequest {
            path: url.ok_or_else(|| missing("url"))?,
            body: body.ok_or_else(|| missing("body"))?,
        })),
        options: None,
    })
}
