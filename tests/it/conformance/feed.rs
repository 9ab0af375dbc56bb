//! Promise 8: changes are hints, and come after the write.

use std::{sync::Arc, time::Duration};

use tidings::{
    model::Event,
    store::{Amendment, Change, Lookup, Moved, Note, Renewal, Store},
};
use tokio::sync::broadcast::Receiver;

use super::harness::{Harness, LONG, answer};

/// Longer than any hint takes that is not lost.
const SILENCE: Duration = Duration::from_secs(10);
/// How long one hint is waited for before another is provoked.
const MOMENT: Duration = Duration::from_millis(100);

/// Listens until a change is what is looked for.
pub(super) async fn hear<T>(
    changes: &mut Receiver<Change>,
    mut find: impl FnMut(Change) -> Option<T>,
) -> T {
    let listening = async {
        loop {
            if let Some(found) = find(changes.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(SILENCE, listening)
        .await
        .expect("nothing of the kind is announced")
}

/// A feed that is known to hear: a store may need a moment before hints reach a new listener.
pub(super) async fn listen(h: &Harness, store: &Arc<dyn Store>) -> Receiver<Change> {
    for _ in 0..100 {
        let mut changes = store.changes();
        let placed = h.submit(h.specs(1)).await;
        // A late hint of an earlier round may come first.
        let heard = hear(&mut changes, |change| match change {
            Change::Moved(moved) => moved.iter().any(|m| m.task == placed.ids[0]).then_some(()),
            _ => None,
        });
        let heard = tokio::time::timeout(MOMENT, heard).await;
        let task = h.take(1).await.remove(0);
        h.must(&task, Event::CancelRequested).await;
        if heard.is_ok() {
            return changes;
        }
    }
    panic!("nothing is announced at all")
}

/// Waits for the next hint of a transition; checks that it is already true.
async fn next_moved(h: &Harness, changes: &mut Receiver<Change>) -> Vec<Moved> {
    let moved = hear(changes, |change| match change {
        Change::Moved(moved) => Some(moved),
        _ => None,
    })
    .await;
    for hint in moved.iter() {
        let Lookup::Found(task) = h.peer.tasks(&[hint.task]).await.unwrap().remove(0) else {
            panic!("{hint:?} was announced before it was written")
        };
        assert!(task.revision() >= hint.revision, "{hint:?} of {task:?}");
        assert_eq!(task.history[hint.revision as usize - 1].status, hint.status);
        assert_eq!(task.batch_id, hint.batch);
    }
    moved.to_vec()
}

pub(super) async fn every_transition_is_announced_after_it_is_written(h: Harness) {
    // Both handles hear of it, whoever wrote.
    let mut feeds = [listen(&h, &h.store).await, listen(&h, &h.peer).await];
    let placed = h.submit(h.specs(3)).await;
    let taken = h.take(3).await;
    let released = h.must(&taken[1], Event::Released).await;
    h.must(&taken[0], answer("")).await;
    h.must(&released, Event::CancelRequested).await;
    let expected = h.log(placed.batch).await.entries;
    for changes in &mut feeds {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let hints = next_moved(&h, changes).await.into_iter();
            heard.extend(hints.filter(|hint| hint.batch == placed.batch));
        }
        assert_eq!(heard, expected);
    }
}

pub(super) async fn progress_is_announced(h: Harness) {
    let mut changes = listen(&h, &h.peer).await;
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    let renewal = Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 40,
        sent: false,
        aside: false,
    };
    h.store.renew(&[renewal], LONG).await.unwrap();
    let notes = hear(&mut changes, |change| match change {
        Change::Noted(notes) => Some(notes),
        _ => None,
    })
    .await;
    assert_eq!(
        *notes,
        [Note {
            task: task.id,
            progress: 40
        }]
    );
}

pub(super) async fn what_happens_to_a_batch_is_announced(h: Harness) {
    let mut changes = listen(&h, &h.peer).await;
    let open = tidings::store::Submission {
        keep_open: true,
        ..h.submission(h.specs(1))
    };
    let batch = h.place(open).await.batch;
    let task = h.take(1).await.remove(0);
    let mut amended = async || {
        let heard = hear(&mut changes, |change| match change {
            Change::Amended(id) => Some(id),
            _ => None,
        });
        assert_eq!(heard.await, batch);
        h.batch(batch).await
    };
    let park = h.park();
    h.must(&task, park).await;
    assert!(amended().await.parked.is_some());
    h.store
        .amend(batch, Amendment::Resume { budget: None })
        .await
        .unwrap();
    assert_eq!(amended().await.parked, None);
    h.store.amend(batch, Amendment::Close).await.unwrap();
    assert!(!amended().await.open);
}
