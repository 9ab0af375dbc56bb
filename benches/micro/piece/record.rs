//! The packed record, which every script call and every write of a task carries.

use std::rc::Rc;

use tidings::{
    model::{Task, TaskId},
    store::record,
};

use crate::{
    round::{Round, Rounds, how_many},
    world,
};

pub(super) fn encoded() -> Rounds {
    let tasks = Rc::new(tasks());
    Box::new(move || {
        let tasks = tasks.clone();
        Round::new(move || how_many(tasks.iter().map(record::encode), |bytes| !bytes.is_empty()))
    })
}

pub(super) fn decoded() -> Rounds {
    let records: Vec<(TaskId, Vec<u8>)> = tasks()
        .iter()
        .map(|task| (task.id, record::encode(task)))
        .collect();
    let records = Rc::new(records);
    Box::new(move || {
        let records = records.clone();
        Round::new(move || {
            let read = records.iter().map(|(id, bytes)| record::decode(*id, bytes));
            how_many(read, Result::is_ok)
        })
    })
}

fn tasks() -> Vec<Task> {
    let commits = world::answered().into_iter();
    commits.map(|commit| commit.task).collect()
}
