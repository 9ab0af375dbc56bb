//! Refuses bad input before anything is stored, naming every faulty field.

mod cost;
mod options;
mod request;
mod schema;
mod work;

use std::collections::HashSet;

use tonic::Status;
use tonic_types::FieldViolation;

use super::{Config, Limits, error};
use crate::{
    clock::Timestamp,
    model::{BatchId, Spec, TaskId, funds::MAX_BUDGET},
    proto::v1::{SubmitBatchRequest, TaskSpec},
    worker::Registry,
};

pub(super) use cost::money;
pub(super) use options::Terms;

/// Gathers faults, so that a caller hears of all of them at once.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldViolation>);

impl Faults {
    /// Notes a fault in a field.
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }

    /// Notes a name that is too long.
    fn name(&mut self, field: &str, name: &str, limits: &Limits) {
        if name.len() > limits.name_bytes {
            let most = limits.name_bytes;
            self.add(field, format!("has {} bytes, at most {most}", name.len()));
        }
    }

    /// Refuses if there was any fault.
    pub(super) fn refuse(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(error::invalid(self.0))
    }
}

/// What validation of a submit goes by.
pub(super) struct Rules<'a> {
    pub(super) config: &'a Config,
    pub(super) functions: &'a Registry,
    pub(super) now: Timestamp,
    /// What the batch may spend, if it has a budget.
    pub(super) budget: Option<u64>,
}

impl Rules<'_> {
    /// The specs of a submit, every default filled in.
    pub(super) fn specs(&self, request: &SubmitBatchRequest) -> Result<Vec<Spec>, Status> {
        let mut faults = Faults::default();
        self.call(request, &mut faults);
        let defaults = request.options.clone().unwrap_or_default();
        let defaults = Terms::read("options", &defaults, self, &mut faults);
        let mut known = schema::Known::default();
        let mut specs = Vec::with_capacity(request.tasks.len());
        for (index, task) in request.tasks.iter().enumerate() {
            // A caller who sees the first faults can mend the rest of a kind.
            if faults.0.len() > 100 {
                break;
            }
            specs.extend(self.spec(index, task, &defaults, &mut known, &mut faults)?);
        }
        faults.refuse()?;
        Ok(specs)
    }

    fn call(&self, request: &SubmitBatchRequest, faults: &mut Faults) {
        let limits = &self.config.limits;
        let (count, most) = (request.tasks.len(), limits.tasks_per_batch);
        if count == 0 {
            faults.add("tasks", "is empty; a batch has at least one task");
        }
        if count > most {
            faults.add(
                "tasks",
                format!(
                    "has {count} tasks, at most {most} a call; split it with keep_open and batch_id"
                ),
            );
        }
        let bytes = prost::Message::encoded_len(request);
        if bytes > limits.batch_bytes {
            let most = limits.batch_bytes;
            faults.add(
                "tasks",
                format!("the call has {bytes} bytes, at most {most}; split it with keep_open and batch_id"),
            );
        }
        faults.name("idempotency_key", &request.idempotency_key, limits);
        if self.budget.is_some_and(|budget| budget > MAX_BUDGET) {
            faults.add("budget_nanos", too_much());
        }
        let mut seen = HashSet::new();
        for (index, task) in request.tasks.iter().enumerate() {
            if !task.custom_id.is_empty() && !seen.insert(&task.custom_id) {
                faults.add(
                    format!("tasks[{index}].custom_id"),
                    "is the same as an earlier task's",
                );
            }
        }
    }

    fn spec(
        &self,
        index: usize,
        task: &TaskSpec,
        defaults: &Terms,
        known: &mut schema::Known,
        faults: &mut Faults,
    ) -> Result<Option<Spec>, Status> {
        let field = format!("tasks[{index}]");
        let limits = &self.config.limits;
        faults.name(&format!("{field}.custom_id"), &task.custom_id, limits);
        let options = task.options.clone().unwrap_or_default();
        let options_field = format!("{field}.options");
        let own = Terms::read(&options_field, &options, self, faults);
        let terms = own.or(defaults);
        terms.check(&options_field, faults);
        let Some(asked) = work::read(&field, task, &own, &terms, self, faults)? else {
            return Ok(None);
        };
        let retries = known.retries(&options_field, &own, &terms, &asked.work, faults);
        let mut spec = terms.spec(asked, task.custom_id.clone(), self);
        spec.validation_retries = retries;
        if let Some(budget) = self.budget {
            cost::fill_in(&field, &mut spec, budget, self, faults);
        }
        Ok(Some(spec))
    }
}

/// Refuses a budget that is larger than can be counted.
pub(super) fn budget(budget: Option<u64>) -> Result<(), Status> {
    match budget {
        Some(budget) if budget > MAX_BUDGET => {
            Err(error::invalid_field("budget_nanos", too_much()))
        }
        _ => Ok(()),
    }
}

fn too_much() -> String {
    format!("is above {MAX_BUDGET}; leave it out for no budget")
}

/// The ids of a call, in order.
pub(super) fn task_ids(texts: &[String], limits: &Limits) -> Result<Vec<TaskId>, Status> {
    let (count, most) = (texts.len(), limits.ids_per_call);
    if count == 0 {
        return Err(error::invalid_field("task_ids", "is empty; name a task"));
    }
    if count > most {
        let description = format!("has {count} ids, at most {most} a call");
        return Err(error::invalid_field("task_ids", description));
    }
    let mut faults = Faults::default();
    let mut ids = Vec::with_capacity(count);
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<TaskId>() {
            Ok(id) => ids.push(id),
            Err(malformed) => faults.add(format!("task_ids[{index}]"), malformed.to_string()),
        }
    }
    faults.refuse()?;
    Ok(ids)
}

/// One task id.
pub(super) fn task_id(field: &str, text: &str) -> Result<TaskId, Status> {
    text.parse::<TaskId>()
        .map_err(|malformed| error::invalid_field(field, malformed.to_string()))
}

/// One batch id.
pub(super) fn batch_id(text: &str) -> Result<BatchId, Status> {
    text.parse::<BatchId>()
        .map_err(|malformed| error::invalid_field("batch_id", malformed.to_string()))
}

/// A caller's key.
pub(super) fn idempotency_key(key: &str, limits: &Limits) -> Result<(), Status> {
    let mut faults = Faults::default();
    faults.name("idempotency_key", key, limits);
    faults.refuse()
}
