//! ListTasks.

use std::collections::BTreeMap;

use tonic::Status;

use super::{
    Service, error,
    status::Room,
    token,
    validate::{self, Faults},
};
use crate::{
    model::{Status as TaskStatus, Task, TaskId},
    proto::v1::{ListTasksRequest, ListTasksResponse},
    store::{self, Lookup},
};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;
/// A page looks at this many tasks at most: a rare label must not make one call read the whole store.
const MAX_SCANNED: usize = 5_000;
/// And asks the store this often at most.
const MAX_ROUNDS: usize = 50;

impl Service {
    pub(super) async fn list(
        &self,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Status> {
        let filter = Filter::read(&request)?;
        let batch = match request.batch_id.as_str() {
            "" => None,
            text => Some(validate::batch_id(text)?),
        };
        if let Some(id) = batch {
            let found = self.store.batch(id).await.map_err(error::from_store)?;
            found.ok_or_else(|| error::not_found("batch", id))?;
        }
        let mut cursor = match request.page_token.as_str() {
            "" => None,
            text => Some(
                token::cursor(text)
                    .filter(|c| batch.is_none_or(|b| b == c.batch))
                    .ok_or_else(|| {
                        let description =
                            "not a token of this call; pass next_page_token of the page before";
                        error::invalid_field("page_token", description)
                    })?,
            ),
        };
        let mut room = Room::new(&self.hub, self.store.now(), request.include_results);
        let mut reply = ListTasksResponse::default();
        let (mut scanned, mut rounds) = (0, 0);
        while reply.tasks.len() < filter.page && scanned < MAX_SCANNED && rounds < MAX_ROUNDS {
            rounds += 1;
            let wanted = filter.page - reply.tasks.len();
            let listing = self.store.list(batch, cursor, wanted).await;
            let listing = listing.map_err(error::from_store)?;
            scanned += listing.ids.len();
            cursor = listing.next;
            let found = self.found(&listing.ids).await.map_err(error::from_store)?;
            let matching: Vec<&Task> = found.iter().filter(|task| filter.matches(task)).collect();
            let held = self.held_back(matching.iter().copied()).await;
            let held = held.map_err(error::from_store)?;
            let told = matching.into_iter().map(|task| room.task(task, &held));
            reply.tasks.extend(told);
            if cursor.is_none() {
                return Ok(reply);
            }
        }
        reply.next_page_token = cursor.map(token::page).unwrap_or_default();
        Ok(reply)
    }

    /// Those of the tasks that are there and readable.
    pub(super) async fn found(&self, ids: &[TaskId]) -> Result<Vec<Task>, store::Error> {
        let lookups = self.store.tasks(ids).await?;
        Ok(lookups
            .into_iter()
            .filter_map(|lookup| match lookup {
                Lookup::Found(task) => Some(*task),
                _ => None,
            })
            .collect())
    }
}

struct Filter<'a> {
    statuses: Vec<TaskStatus>,
    labels: &'a BTreeMap<String, String>,
    page: usize,
}

impl<'a> Filter<'a> {
    fn read(request: &'a ListTasksRequest) -> Result<Self, Status> {
        let mut faults = Faults::default();
        let mut statuses = Vec::new();
        for (index, code) in request.statuses.iter().enumerate() {
            match u8::try_from(*code).ok().and_then(TaskStatus::from_code) {
                Some(status) => statuses.push(status),
                None => faults.add(
                    format!("statuses[{index}]"),
                    format!("{code} is no status; QUEUED is 1, CANCELLED 5"),
                ),
            }
        }
        let page = match request.page_size as usize {
            0 => DEFAULT_PAGE,
            size => size,
        };
        if page > MAX_PAGE {
            faults.add("page_size", format!("is {page}, at most {MAX_PAGE}"));
        }
        faults.refuse()?;
        Ok(Filter {
            statuses,
            labels: &request.labels,
            page,
        })
    }

    fn matches(&self, task: &Task) -> bool {
        let labels = &task.spec.labels;
        (self.statuses.is_empty() || self.statuses.contains(&task.status()))
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }
}
