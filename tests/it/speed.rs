//! The judge of `make bench`: rounds that are made up, so that what must be said of them is known.

#[path = "../../benches/speed/check.rs"]
mod check;
#[expect(
    dead_code,
    reason = "the bench uses all of it, these tests what can be wrong"
)]
#[path = "../../benches/speed/client.rs"]
mod client;
#[expect(
    dead_code,
    reason = "the bench uses all of it, these tests what can be wrong"
)]
#[path = "../../benches/speed/goal.rs"]
mod goal;
#[expect(
    dead_code,
    reason = "the bench uses all of it, these tests what can be wrong"
)]
#[path = "../../benches/speed/report.rs"]
mod report;

use std::error::Error;

use tidings::{
    clock::Timestamp,
    model::{IdRange, Status, TaskId},
    simulator::answer_to,
};

use crate::support::history::{self, Seen};
use check::sound;
use client::{Job, Round, Told};
use goal::Goal;
use report::{Report, percentile};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const COUNT: usize = 3;
const JOB: Job = Job::Echo(200);

fn told(task: TaskId, revision: u64, status: Status, text: Option<String>) -> Told {
    let attempt = u32::from(revision > 1);
    let seen = Seen {
        task,
        revision,
        status,
        attempt,
    };
    Told { seen, text }
}

fn answer(job: Job, number: usize) -> String {
    let text = job.text(number);
    match job {
        Job::Echo(_) => format!("{{\"arguments\":\"{text}\",\"task\":{{}}}}"),
        Job::Prompt => answer_to(&text),
    }
}

fn round(job: Job) -> Round {
    let ids: Vec<TaskId> = IdRange::new(Timestamp(1), 0, 7, COUNT as u32)
        .iter()
        .collect();
    let histories = ids.iter().enumerate().flat_map(|(number, id)| {
        [
            told(*id, 1, Status::Queued, None),
            told(*id, 2, Status::Processing, None),
            told(*id, 3, Status::Completed, Some(answer(job, number))),
        ]
    });
    Round {
        told: histories.collect(),
        ids: ids.iter().map(ToString::to_string).collect(),
        ..Round::default()
    }
}

#[track_caller]
fn refused(round: &Round) -> String {
    sound(round, JOB, COUNT).unwrap_err().to_string()
}

#[test]
fn a_round_in_which_nothing_went_wrong_counts() {
    for job in [JOB, Job::Prompt] {
        sound(&round(job), job, COUNT).unwrap();
    }
}

#[test]
fn a_round_that_lost_a_task_does_not_count() {
    let mut lost = round(JOB);
    lost.told.pop();
    assert_eq!(refused(&lost), "1 lost, 0 repeated, 0 wrong of 3");
    let mut never_answered = round(JOB);
    never_answered.ids.pop();
    assert_eq!(refused(&never_answered), "2 ids for 3 tasks");
}

#[test]
fn a_round_that_ran_a_task_twice_does_not_count() {
    let mut repeated = round(JOB);
    repeated.told[2].seen.attempt = 2;
    assert_eq!(refused(&repeated), "0 lost, 1 repeated, 0 wrong of 3");
}

#[test]
fn a_round_with_the_answer_to_another_task_does_not_count() {
    let mut swapped = round(JOB);
    swapped.told[2].text = Some(answer(JOB, 1));
    assert_eq!(refused(&swapped), "0 lost, 0 repeated, 1 wrong of 3");
    let mut failed = round(JOB);
    failed.told[5].seen.status = Status::Error;
    assert_eq!(refused(&failed), "0 lost, 0 repeated, 1 wrong of 3");
}

#[test]
fn a_round_whose_history_has_a_gap_a_repeat_or_a_step_back_does_not_count() {
    let mut gap = round(JOB);
    gap.told.remove(1);
    assert_eq!(
        refused(&gap),
        "8 transitions of 3 tasks were told, not 3 of each"
    );
    let mut twice = round(JOB);
    twice.told.insert(1, twice.told[1].clone());
    assert_eq!(
        refused(&twice),
        "10 transitions of 3 tasks were told, not 3 of each"
    );
    let mut back = round(JOB);
    back.told.swap(3, 4);
    assert!(
        refused(&back).ends_with("revision 1 follows 2"),
        "{}",
        refused(&back)
    );
}

#[test]
fn a_round_that_tells_of_foreign_tasks_does_not_count() {
    let mut foreign = round(JOB);
    foreign.told[0].seen.task = IdRange::new(Timestamp(1), 0, 1 << 40, 1).first;
    assert_eq!(refused(&foreign), "a task was told that was not submitted");
}

#[test]
fn what_counts_as_zero_is_zero_beside_the_others() {
    let mut report = Report::default();
    report.add("W1", "one", "tasks/s", vec![30.0, 10.0, 20.0]);
    report.add("W1", "other", "tasks/s", vec![4.0, 6.0]);
    report.add("W1", "third", "tasks/s", vec![1e6]);
    report.zero("W1", "third", "1 lost");
    let goal = |of, to| Goal {
        text: "it",
        of: ("W1", of, "tasks/s"),
        to: Some(("W1", to, "tasks/s")),
        goal: "",
    };
    let is = |goal| report.goals(&[goal]).lines().nth(2).map(str::to_owned);
    assert_eq!(
        is(goal("one", "other")).as_deref(),
        Some("| it | 4.00 |  |")
    );
    assert_eq!(
        is(goal("third", "other")).as_deref(),
        Some("| it | **0** |  |")
    );
    assert_eq!(
        is(goal("one", "third")).as_deref(),
        Some("| it | the other counts as zero |  |")
    );
    assert_eq!(is(goal("one", "unknown")), None);
    assert!(!report.is_sound());
}

#[test]
fn a_percentile_is_a_sample() {
    let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!(percentile(&samples, 0.0), Some(1.0));
    assert_eq!(percentile(&samples, 0.5), Some(51.0));
    assert_eq!(percentile(&samples, 0.99), Some(100.0));
    assert_eq!(percentile(&[], 0.5), None);
}
