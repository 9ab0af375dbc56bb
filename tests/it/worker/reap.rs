//! Tasks whose time has run out while nobody runs them any more.

use tidings::{
    model::{ErrorCode, Spec, Status, Work},
    store::{Extension, Store as _},
    worker::Registry,
};
use tokio::time::sleep;

use super::{LONG, World, spec};

#[tokio::test(start_paused = true)]
async fn what_a_lost_worker_had_passed_on_is_kept_when_the_deadline_passes() {
    let world = World::new();
    let text = "p".into();
    let streamed = Spec {
        stream: true,
        ..spec(Work::Prompt { text })
    };
    let id = world.submit_spec(streamed).await;
    let task = world.acquire().await;
    let piece = Extension {
        id,
        fence: task.fence(),
        offset: 0,
        text: "half".into(),
    };
    assert_eq!(world.store.extend(&[piece]).await.unwrap(), [true]);
    world.start(Registry::default());

    world.clock.advance(LONG);
    // A clock that leaps gives workers the time to renew their leases first.
    sleep(LONG * 3).await;

    let ended = world.task(id).await;
    assert_eq!(ended.status(), Status::Error);
    assert_eq!(ended.error().unwrap().code, ErrorCode::DeadlineExceeded);
    assert_eq!(ended.partial.as_deref(), Some("half"));
}
