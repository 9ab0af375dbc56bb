//! Whether a round may count: nothing lost, nothing run twice, every answer right, every history lawful.

use std::collections::HashMap;

use tidings::{
    model::{Status, TaskId},
    simulator::answer_to,
};

use super::{
    Fallible,
    client::{Job, Round, Told},
    history::{Law, check},
};

/// The only attempt that a task needs.
const LAW: Law = Law {
    max_attempts: 1,
    is_complete: true,
};

/// Fails with what is wrong with the round, if anything is.
pub(crate) fn sound(round: &Round, job: Job, count: usize) -> Fallible<()> {
    let mut numbers = HashMap::with_capacity(count);
    for (number, id) in round.ids.iter().enumerate() {
        numbers.insert(id.parse::<TaskId>()?, number);
    }
    if numbers.len() != count {
        return Err(format!("{} ids for {count} tasks", numbers.len()).into());
    }
    let mut history = Vec::with_capacity(round.told.len());
    let (mut ended, mut wrong) = (0, 0);
    for told in &round.told {
        let number = numbers
            .get(&told.seen.task)
            .ok_or("a task was told that was not submitted")?;
        if told.seen.status.is_terminal() {
            ended += 1;
            wrong += usize::from(!is_right(told, job, *number));
        }
        history.push(told.seen);
    }
    let repeated = history.iter().filter(|seen| seen.attempt > 1).count();
    if ended != count || repeated + wrong > 0 {
        let lost = count.saturating_sub(ended);
        return Err(format!("{lost} lost, {repeated} repeated, {wrong} wrong of {count}").into());
    }
    // A history that begins late would be lawful, too: a watch may. This one was there from the beginning.
    if history.len() != 3 * count {
        return Err(format!(
            "{} transitions of {count} tasks were told, not 3 of each",
            history.len()
        )
        .into());
    }
    check(&history, LAW).map_err(|fault| fault.to_string().into())
}

/// Whether the end is an answer, and that to this very task.
pub(crate) fn is_right(told: &Told, job: Job, number: usize) -> bool {
    let text = job.text(number);
    let answer = told.text.as_deref().unwrap_or_default();
    let is_answer = match job {
        Job::Echo(_) => answer.starts_with(&format!("{{\"arguments\":\"{text}\"")),
        Job::Prompt => answer == answer_to(&text),
    };
    is_answer && told.seen.status == Status::Completed
}
