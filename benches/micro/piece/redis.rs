//! What the store in Redis packs into its calls, and what it hears: all but the connection.

use std::rc::Rc;

use tidings::store::{
    Change,
    redis::bench::{announcement, commit_calls, hear},
};

use crate::{
    round::{Round, Rounds},
    world,
};

pub(super) fn committed() -> Rounds {
    let commits = Rc::new(world::answered());
    Box::new(move || {
        let commits = commits.clone();
        Round::new(move || commit_calls(&commits) as u64)
    })
}

pub(super) fn heard() -> Rounds {
    let message = Rc::new(announcement(&world::hints(&world::answered())));
    Box::new(move || {
        let message = message.clone();
        Round::new(move || {
            let changes = hear(&message).expect("it was announced so");
            let moved = changes.iter().map(|change| match change {
                Change::Moved(moved) => moved.len() as u64,
                _ => 0,
            });
            moved.sum()
        })
    })
}
