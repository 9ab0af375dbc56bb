//! The transition function: a task that is tried twice, and answered.

use tidings::model::{Charges, ErrorCode, Event, Failure, Status, Task};

use crate::{
    round::{Round, Rounds, how_many},
    world::{NOW, acquired, queued, succeeded},
};

pub(super) fn applied() -> Rounds {
    let tasks = queued();
    let life = [acquired(), retried(), acquired(), succeeded()];
    Box::new(move || {
        // What happens is moved into the task: each needs its own.
        let lives: Vec<(Task, [Event; 4])> = tasks
            .iter()
            .map(|task| (task.clone(), life.clone()))
            .collect();
        Round::new(move || {
            how_many(lives.into_iter().map(lived), |task| {
                task.status() == Status::Completed
            })
        })
    })
}

fn lived((mut task, events): (Task, [Event; 4])) -> Task {
    for event in events {
        task.apply(event, NOW).expect("the table allows it");
    }
    task
}

fn retried() -> Event {
    Event::Retried {
        failure: Failure::new(ErrorCode::UpstreamOverloaded, "the upstream is overloaded"),
        due: NOW,
        charges: Charges {
            overloads: 1,
            ..Charges::default()
        },
    }
}
