use super::*;
use crate::model::{Event, Outcome, Priority, WorkerId};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const KEPT_FOR: u64 = 1_000;

fn spec(input: usize) -> Spec {
    Spec {
        work: Work::Prompt {
            text: "x".repeat(input),
        },
        custom_id: "mine".into(),
        model: "m".into(),
        priority: Priority::High,
        timeout_ms: 1,
        deadline: NOW,
        not_before: None,
        status_retention_ms: KEPT_FOR,
        result_retention_ms: KEPT_FOR,
        max_attempts: 4,
        labels: [("k".into(), "v".into())].into(),
        retry_of: None,
        create_time: NOW,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    }
}

fn batch() -> BatchId {
    BatchId::new(NOW, 0, 5)
}

fn ids(count: u32) -> IdRange {
    IdRange::new(NOW, 0, 99, count)
}

fn task(id: TaskId) -> Task {
    Task::new(id, batch(), Arc::new(spec(100)), 7)
}

fn done(id: TaskId, text: usize) -> Task {
    let mut task = task(id);
    let worker = WorkerId(42);
    let outcome = Box::new(Outcome {
        text: "y".repeat(text),
        ..Outcome::default()
    });
    for event in [Event::Acquired { worker }, Event::Succeeded(outcome)] {
        task.apply(event, NOW).unwrap();
    }
    task
}

/// As the log of a task that is done has it.
fn entry(task: TaskId, revision: u64) -> Moved {
    let status = match revision {
        1 => Status::Queued,
        2 => Status::Processing,
        _ => Status::Completed,
    };
    Moved {
        task,
        batch: batch(),
        revision,
        status,
    }
}

fn progressed(id: TaskId) -> Renewal {
    Renewal {
        id,
        fence: task(id).fence(),
        progress: 40,
        sent: false,
        aside: false,
    }
}

fn recall(recent: &Recent, id: TaskId, revision: u64, epoch: u32) -> Option<Arc<Task>> {
    let mut found = recent.recall(&[entry(id, revision)], epoch, NOW);
    found.pop().flatten()
}

fn following() -> Recent {
    let recent = Recent::default();
    recent.follow(batch());
    recent
}

#[test]
fn what_has_come_as_far_in_the_same_epoch_is_recalled() {
    let (recent, id) = (following(), ids(1).first);
    recent.wrote([done(id, 3)].into_iter());
    for revision in 1..=3 {
        let task = recall(&recent, id, revision, 7).unwrap();
        assert_eq!(task.outcome.as_ref().unwrap().text, "yyy");
        assert_eq!(task.spec.labels, spec(0).labels);
    }
    for (revision, epoch) in [(4, 7), (3, 6), (3, 8)] {
        assert_eq!(recall(&recent, id, revision, epoch), None);
    }
    let over = NOW + std::time::Duration::from_millis(KEPT_FOR);
    assert_eq!(recent.recall(&[entry(id, 3)], 7, over), [None]);
}

#[test]
fn what_went_another_way_is_not_recalled() {
    let (recent, id) = (following(), ids(1).first);
    recent.wrote([done(id, 3)].into_iter());
    let failed = Moved {
        status: Status::Error,
        ..entry(id, 3)
    };
    assert_eq!(recent.recall(&[failed], 7, NOW), [None]);
}

#[test]
fn what_others_may_have_ended_is_recalled_no_longer_than_an_end_is_kept() {
    let (recent, id) = (following(), ids(1).first);
    recent.wrote([task(id)].into_iter());
    let over = NOW + Duration::from_millis(KEPT_FOR);
    for (now, knows) in [(NOW, true), (over, false)] {
        let found = recent.recall(&[entry(id, 1)], 7, now).remove(0);
        assert_eq!(found.is_some(), knows, "{now:?}");
    }
}

#[test]
fn what_is_known_already_is_not_unlearnt() {
    let (recent, id) = (following(), ids(1).first);
    recent.wrote([done(id, 3)].into_iter());
    recent.wrote([task(id)].into_iter());
    recent.accepted(batch(), ids(1), &[Arc::new(spec(1))], 7);
    assert_eq!(recall(&recent, id, 3, 7).unwrap().revision(), 3);
}

#[test]
fn what_is_small_is_kept_and_the_rest_where_it_is_followed() {
    let recent = Recent::default();
    let tasks: Vec<Task> = ids(2)
        .iter()
        .zip([1, 9_000])
        .map(|(id, text)| done(id, text))
        .collect();
    let chosen = |recent: &Recent| {
        let chosen = recent.chosen(tasks.iter());
        chosen.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&recent), [true, false]);
    recent.follow(batch());
    recent.follow(batch());
    assert_eq!(chosen(&recent), [true, true]);
    recent.leave(batch());
    assert_eq!(chosen(&recent), [true, true]);
    recent.leave(batch());
    assert_eq!(chosen(&recent), [true, false]);
}

#[test]
fn it_holds_no_more_than_there_is_room_for() {
    let recent = following();
    let count = 200;
    for id in ids(count).iter() {
        recent.wrote([done(id, 1 << 20)].into_iter());
        let kept = recent.kept.lock();
        assert!(kept.young.weight + kept.old.weight <= ROOM + (2 << 20));
    }
    let last = ids(count).at(count - 1);
    assert!(recall(&recent, last, 3, 7).is_some());
    assert!(recall(&recent, ids(count).first, 3, 7).is_none());
    let progressed: Vec<Renewal> = ids(count).iter().map(progressed).collect();
    recent.progressed(&progressed);
    let kept = recent.kept.lock();
    assert_eq!((kept.young.weight, kept.old.weight), (0, 0));
}

#[test]
fn what_still_runs_is_not_kept_from_a_read() {
    let (recent, id) = (following(), ids(1).first);
    let mut running = task(id);
    let worker = WorkerId(42);
    running.apply(Event::Acquired { worker }, NOW).unwrap();
    recent.read([Arc::new(running)].iter());
    assert!(recall(&recent, id, 1, 7).is_none());
    recent.read([Arc::new(done(id, 1))].iter());
    assert!(recall(&recent, id, 1, 7).is_some());
}
