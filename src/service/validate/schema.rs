//! Whether answers can be checked as a task asks for: by the JSON schema that its request carries.

use super::{Faults, Terms};
use crate::model::{Schema, Work};

/// The last schema that could be read: the tasks of a call mostly have the same.
#[derive(Debug, Default)]
pub(super) struct Known(Option<Schema>);

impl Known {
    /// Further calls that the task may make for an answer that fits; none where answers are not checked. `own` are the
    /// terms that the task states itself, `terms` those with the call's defaults.
    pub(super) fn retries(
        &mut self,
        field: &str,
        own: &Terms,
        terms: &Terms,
        work: &Work,
        faults: &mut Faults,
    ) -> Option<u32> {
        let has_place = work.kind().is_some_and(Schema::has_place);
        // A default of the call is for the tasks that it fits.
        let retries = if has_place {
            terms.validation_retries
        } else {
            own.validation_retries
        };
        let fault = match Schema::stated(work) {
            _ if retries.is_none() => return None,
            None => "is set, and the request has no JSON schema to check its answer by; add one as \
                     `response_format.json_schema.schema` of a chat completion or `text.format.schema` of a response, \
                     or leave it out"
                .to_owned(),
            Some(stated) if self.knows(&stated) => return retries,
            Some(stated) => match Schema::new(stated) {
                Ok(schema) => {
                    self.0 = Some(schema);
                    return retries;
                }
                Err(misfit) => format!(
                    "is set, and the JSON schema of the request cannot be used: {misfit}; it must be valid, refer to \
                     nothing outside of itself, and have no pattern that looks around or back"
                ),
            },
        };
        faults.add(format!("{field}.validation_retries"), fault);
        None
    }

    fn knows(&self, stated: &serde_json::Value) -> bool {
        let known = self.0.as_ref();
        known.is_some_and(|schema| schema.as_stated() == stated)
    }
}
