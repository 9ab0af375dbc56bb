//! What a running attempt puts out, told between the transitions it belongs to.

use std::time::Duration;

use futures::StreamExt as _;
use tidings::{
    model::{Event as Happening, Status, Task, TaskId, WorkerId},
    store::{Extension, OUTPUT_PAGE, Store as _},
    watch::{
        Resume,
        task::{self, Event},
    },
};
use tokio::time::sleep;

use super::{LONG, TaskEvents, World, answered, told};

/// What was told, in short: `2` for the second revision, `1:0 text` for output of the first attempt from byte 0.
fn short(events: &[Event]) -> Vec<String> {
    let short = |event: &Event| match event {
        Event::Moved {
            revision, reset, ..
        } => Some(format!("{revision}{}", if *reset { " reset" } else { "" })),
        Event::Said {
            attempt,
            offset,
            text,
        } => Some(format!("{attempt}:{offset} {text}")),
        Event::Noted { progress } => Some(format!("{progress} %")),
        // How long a task waited here is chance.
        Event::Waits { .. } => None,
        Event::Heartbeat { .. } => Some("alive".to_owned()),
    };
    events.iter().filter_map(short).collect()
}

impl World {
    async fn listen(&self, id: TaskId, after: u64) -> TaskEvents {
        let resume = Resume { after, epoch: 0 };
        let events = task::watch_output(self.hub.clone(), id, resume).await;
        Box::pin(events.unwrap().fuse())
    }

    /// The attempt puts out `text` after `offset` bytes.
    async fn say(&self, task: &Task, offset: usize, text: &str) {
        let extension = Extension {
            id: task.id,
            fence: task.fence(),
            offset: offset as u64,
            text: text.to_owned(),
        };
        assert_eq!(self.store.extend(&[extension]).await.unwrap(), [true]);
    }

    /// A task that runs.
    async fn running(&self) -> Task {
        self.submit_one().await;
        self.acquire().await.remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn output_is_told_between_the_transitions_it_belongs_to() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    let mut events = world.listen(id, 0).await;
    assert_eq!(short(&told(&mut events).await), ["1"]);
    let task = world.acquire().await.remove(0);
    world.say(&task, 0, "a").await;
    assert_eq!(short(&told(&mut events).await), ["2", "1:0 a"]);
    world.say(&task, 1, "b").await;
    world.say(&task, 2, "c").await;
    assert_eq!(short(&told(&mut events).await), ["1:1 bc"]);
    world.happen(vec![task], answered()).await;
    assert_eq!(short(&told(&mut events).await), ["3"]);
    assert!(events.next().await.is_none(), "nothing follows the end");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_for_output_is_told_none() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.watch_task(task.id).await;
    world.say(&task, 0, "a").await;
    world.happen(vec![task], answered()).await;
    assert_eq!(short(&told(&mut events).await), ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_late_or_comes_back_is_told_all_of_it_and_then_the_rest() {
    let world = World::new();
    let task = world.running().await;
    let mut first = world.listen(task.id, 0).await;
    told(&mut first).await;
    for (offset, text) in [(0, "a"), (1, "b"), (2, "c")] {
        world.say(&task, offset, text).await;
        told(&mut first).await;
    }
    let (mut late, mut back) = (
        world.listen(task.id, 0).await,
        world.listen(task.id, 2).await,
    );
    assert_eq!(short(&told(&mut late).await), ["1", "2", "1:0 abc"]);
    assert_eq!(short(&told(&mut back).await), ["1:0 abc"]);
    world.say(&task, 3, "d").await;
    for events in [&mut first, &mut late, &mut back] {
        assert_eq!(short(&told(events).await), ["1:3 d"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read_gets_one_large_piece_instead_of_many() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 2).await;
    for offset in 0..1_000 {
        world.say(&task, offset, "x").await;
    }
    let expected = format!("1:0 {}", "x".repeat(1_000));
    assert_eq!(short(&told(&mut events).await), [expected]);
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_begins_anew_and_the_last_one_leaves_nothing() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 0).await;
    world.say(&task, 0, "old").await;
    assert_eq!(short(&told(&mut events).await), ["1", "2", "1:0 old"]);
    world.say(&task, 3, "er").await;
    world.happen(vec![task], Happening::Released).await;
    let task = world.acquire().await.remove(0);
    world.say(&task, 0, "new").await;
    // What came last in the first attempt is not told after it.
    assert_eq!(short(&told(&mut events).await), ["3", "4", "2:0 new"]);
    world.say(&task, 3, "er").await;
    world.happen(vec![task], Happening::CancelRequested).await;
    assert_eq!(short(&told(&mut events).await), ["5"]);
}

#[tokio::test(start_paused = true)]
async fn much_output_is_told_page_by_page_without_another_hint() {
    let world = World::new();
    let task = world.running().await;
    let text = "数".repeat(OUTPUT_PAGE);
    world.say(&task, 0, &text).await;
    let mut events = world.listen(task.id, 2).await;
    let mut seen = String::new();
    for event in told(&mut events).await {
        let Event::Said { offset, text, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!(offset, seen.len() as u64);
        assert!(text.len() <= OUTPUT_PAGE);
        seen.push_str(&text);
    }
    assert!(seen == text, "{} of {} bytes", seen.len(), text.len());
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_is_lost_delays_text_and_repeats_none() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 2).await;
    world.say(&task, 0, "a").await;
    assert_eq!(short(&told(&mut events).await), ["1:0 a"]);
    world.store.repeat_hints(0);
    world.say(&task, 1, "b").await;
    assert!(told(&mut events).await.is_empty(), "nobody said anything");
    world.store.tell_gap();
    assert_eq!(short(&told(&mut events).await), ["1:1 b"]);
    world.store.repeat_hints(3);
    world.say(&task, 2, "c").await;
    world.store.tell_gap();
    assert_eq!(short(&told(&mut events).await), ["1:2 c"]);
}

#[tokio::test(start_paused = true)]
async fn output_of_an_attempt_that_is_still_to_be_told_waits_for_it() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 2).await;
    world.say(&task, 0, "old").await;
    assert_eq!(short(&told(&mut events).await), ["1:0 old"]);
    // That the next attempt began is not heard, what it puts out is.
    world.store.repeat_hints(0);
    world.happen(vec![task], Happening::Released).await;
    let task = world.acquire().await.remove(0);
    world.say(&task, 0, "newer").await;
    assert!(told(&mut events).await.is_empty());
    world.store.repeat_hints(1);
    world.say(&task, 5, " words").await;
    assert_eq!(
        short(&told(&mut events).await),
        ["3", "4", "2:0 newer words"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_delays_text_and_ends_no_stream() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 2).await;
    world.say(&task, 0, "a").await;
    world.store.fail_reads(true);
    world.say(&task, 1, "b").await;
    assert!(told(&mut events).await.is_empty());
    world.store.fail_reads(false);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(short(&told(&mut events).await), ["1:0 ab"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_writes_takes_back_the_output_too() {
    let world = World::new();
    let task = world.running().await;
    let id = task.id;
    let mut events = world.listen(id, 2).await;
    world.say(&task, 0, "lost").await;
    assert_eq!(short(&told(&mut events).await), ["1:0 lost"]);
    world.roll_back(2).await;
    assert_eq!(short(&told(&mut events).await), ["1 reset"]);
    assert_eq!(world.task(id).await.status(), Status::Queued);
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_output_is_told_from_its_beginning() {
    let world = World::new();
    let task = world.running().await;
    let mut events = world.listen(task.id, 2).await;
    world.say(&task, 0, "old").await;
    assert_eq!(short(&told(&mut events).await), ["1:0 old"]);
    // The same revision, come to in another way.
    world.failover.to(world.copy().await, 2);
    let acquired = world.store.acquire(WorkerId(8), 1, LONG).await;
    let task = acquired.unwrap().tasks.remove(0);
    world.say(&task, 0, "newer").await;
    world.store.tell_gap();
    assert_eq!(short(&told(&mut events).await), ["2 reset", "1:0 newer"]);
}

#[tokio::test(start_paused = true)]
async fn many_watchers_of_one_output_are_all_told() {
    let world = World::new();
    let task = world.running().await;
    let mut watchers = Vec::new();
    for _ in 0..200 {
        watchers.push(world.listen(task.id, 2).await);
    }
    let mut expected = String::new();
    for round in 0..5 {
        world.say(&task, round, "x").await;
        expected.push('x');
    }
    for events in &mut watchers {
        assert_eq!(short(&told(events).await), [format!("1:0 {expected}")]);
    }
}
