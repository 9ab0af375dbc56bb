//! Promise 10: output is progress of one attempt, and of no other.

use tidings::{
    model::{Event, Fence, Spec, Task, TaskId},
    store::{Change, Extension, OUTPUT_MAX, OUTPUT_PAGE, Output, Verdict, output::so_far},
};

use super::harness::{Harness, LONG, SHORT, answer};

fn piece(task: &Task, offset: usize, text: &str) -> Extension {
    Extension {
        id: task.id,
        fence: task.fence(),
        offset: offset as u64,
        text: text.to_owned(),
    }
}

/// Appends; tells what was taken.
async fn extend(h: &Harness, pieces: &[Extension]) -> Vec<bool> {
    h.store.extend(pieces).await.unwrap()
}

/// The output as another process reads it.
async fn read(h: &Harness, id: TaskId, from: usize) -> Option<Output> {
    h.peer.output(id, from as u64).await.unwrap()
}

fn output(task: &Task, offset: usize, text: &str) -> Option<Output> {
    Some(Output {
        revision: task.revision(),
        offset: offset as u64,
        text: text.to_owned(),
    })
}

/// A running task that is streamed.
async fn running(h: &Harness) -> Task {
    let spec = Spec {
        stream: true,
        ..h.spec("p")
    };
    h.submit(vec![spec]).await;
    h.take(1).await.remove(0)
}

pub(super) async fn output_is_read_from_any_place_while_it_grows(h: Harness) {
    let task = running(&h).await;
    assert_eq!(read(&h, task.id, 0).await, None);
    assert_eq!(extend(&h, &[piece(&task, 0, "数\0")]).await, [true]);
    assert_eq!(read(&h, task.id, 0).await, output(&task, 0, "数\0"));
    assert_eq!(read(&h, task.id, 4).await, output(&task, 4, ""));
    assert_eq!(extend(&h, &[piece(&task, 4, "a\r\n🦀")]).await, [true]);
    assert_eq!(read(&h, task.id, 0).await, output(&task, 0, "数\0a\r\n🦀"));
    assert_eq!(read(&h, task.id, 4).await, output(&task, 4, "a\r\n🦀"));
    // From where nothing is yet, as far as there is something.
    assert_eq!(read(&h, task.id, 99).await, output(&task, 11, ""));
}

pub(super) async fn a_repeated_piece_is_taken_once_and_a_missing_one_is_missed(h: Harness) {
    let task = running(&h).await;
    let pieces = [
        piece(&task, 0, "ab"),
        piece(&task, 0, "ab"),
        piece(&task, 1, "bc"),
        piece(&task, 4, "e"),
        piece(&task, 0, ""),
    ];
    assert_eq!(extend(&h, &pieces).await, [true, true, true, false, true]);
    assert_eq!(read(&h, task.id, 0).await, output(&task, 0, "abc"));
    let late = running(&h).await;
    assert_eq!(extend(&h, &[piece(&late, 1, "x")]).await, [false]);
    assert_eq!(read(&h, late.id, 0).await, None);
}

pub(super) async fn only_who_holds_a_task_extends_its_output(h: Harness) {
    let task = running(&h).await;
    let unknown = tidings::model::IdRange::new(h.store.now(), h.partition(), h.draw(), 1).first;
    let with = |fence: Fence| Extension {
        fence,
        ..piece(&task, 0, "x")
    };
    let Fence { epoch, revision } = task.fence();
    let queued = h.task(h.submit(h.specs(1)).await.ids[0]).await;
    let pieces = [
        with(Fence {
            epoch,
            revision: revision - 1,
        }),
        with(Fence {
            epoch: epoch - 1,
            revision,
        }),
        Extension {
            id: unknown,
            ..piece(&task, 0, "x")
        },
        piece(&queued, 0, "x"),
        piece(&task, 0, "y"),
    ];
    assert_eq!(
        extend(&h, &pieces).await,
        [false, false, false, false, true]
    );
    assert_eq!(read(&h, task.id, 0).await, output(&task, 0, "y"));
    assert_eq!(read(&h, queued.id, 0).await, None);
    assert_eq!(read(&h, unknown, 0).await, None);
}

pub(super) async fn a_late_worker_adds_nothing_and_the_next_attempt_begins_with_nothing(
    h: Harness,
) {
    let spec = Spec {
        stream: true,
        ..h.spec("p")
    };
    h.submit(vec![spec]).await;
    let late = h.take_for(1, SHORT).await.remove(0);
    assert_eq!(extend(&h, &[piece(&late, 0, "late")]).await, [true]);
    h.advance(SHORT).await;
    h.reap().await;
    assert_eq!(read(&h, late.id, 0).await, None);
    assert_eq!(extend(&h, &[piece(&late, 4, "r")]).await, [false]);
    let second = h.take_for(1, LONG).await.remove(0);
    assert_eq!(second.id, late.id);
    assert_eq!(read(&h, late.id, 0).await, None);
    let pieces = [piece(&late, 4, "r"), piece(&second, 4, "r")];
    assert_eq!(extend(&h, &pieces).await, [false, false]);
    assert_eq!(extend(&h, &[piece(&second, 0, "new")]).await, [true]);
    assert_eq!(read(&h, late.id, 0).await, output(&second, 0, "new"));
}

pub(super) async fn output_is_gone_when_its_task_moves(h: Harness) {
    let end = answer("done");
    for event in [Event::Released, end, Event::CancelRequested] {
        let task = running(&h).await;
        assert_eq!(extend(&h, &[piece(&task, 0, "a")]).await, [true]);
        let moved = h.must(&task, event).await;
        assert_eq!(read(&h, task.id, 0).await, None, "{:?}", moved.last());
        assert_eq!(extend(&h, &[piece(&task, 1, "b")]).await, [false]);
        if !moved.status().is_terminal() {
            // Out of the way of the next one.
            h.must(&moved, Event::CancelRequested).await;
        }
    }
}

pub(super) async fn what_a_task_had_put_out_is_kept_with_its_end(h: Harness) {
    let task = running(&h).await;
    assert_eq!(so_far(h.peer.as_ref(), &task).await, "");
    assert_eq!(extend(&h, &[piece(&task, 0, "hal\0数")]).await, [true]);
    let said = so_far(h.peer.as_ref(), &task).await;
    let mut commit = h.moved(&task, Event::CancelRequested);
    commit.task.keep_partial(&said);
    for _ in 0..2 {
        // The same again, after a reply that was lost.
        let verdicts = h.commit(vec![commit.clone()]).await;
        assert_eq!(verdicts, [Verdict::Applied]);
    }
    let ended = h.task(task.id).await;
    assert_eq!(ended, commit.task);
    assert_eq!(ended.partial.as_deref(), Some("hal\0数"));
    assert_eq!(so_far(h.peer.as_ref(), &ended).await, "");
}

pub(super) async fn output_has_a_bound_and_is_read_in_pages(h: Harness) {
    let task = running(&h).await;
    // Of three bytes, so that pages end within a character.
    let text = "数".repeat(OUTPUT_MAX / 12 * 4);
    let quarter = text.len() / 4;
    for offset in (0..4).map(|part| part * quarter) {
        let part = piece(&task, offset, &text[offset..offset + quarter]);
        assert_eq!(extend(&h, &[part]).await, [true]);
    }
    assert_eq!(
        extend(&h, &[piece(&task, text.len(), &"x".repeat(16))]).await,
        [false]
    );
    let mut seen = String::new();
    while seen.len() < text.len() {
        let page = read(&h, task.id, seen.len()).await.unwrap();
        assert_eq!(page.offset, seen.len() as u64);
        assert!(!page.text.is_empty() && page.text.len() <= OUTPUT_PAGE);
        seen.push_str(&page.text);
    }
    assert!(seen == text, "what was read is not what was written");
}

pub(super) async fn output_is_hinted_at_and_changes_nothing_else(h: Harness) {
    let mut changes = super::feed::listen(&h, &h.peer).await;
    let task = running(&h).await;
    let renewal = tidings::store::Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 40,
        sent: false,
        aside: false,
    };
    h.store.renew(&[renewal], LONG).await.unwrap();
    assert_eq!(extend(&h, &[piece(&task, 0, "a")]).await, [true]);
    let mut hints = 0;
    super::feed::hear(&mut changes, |change| {
        let Change::Noted(notes) = change else {
            return None;
        };
        hints += notes.iter().filter(|note| note.task == task.id).count();
        assert!(notes.iter().all(|note| note.progress == 40), "{notes:?}");
        // One for the progress, one for the output.
        (hints == 2).then_some(())
    })
    .await;
    let stored = h.task(task.id).await;
    assert_eq!(
        stored,
        Task {
            progress: 40,
            ..task
        }
    );
}
