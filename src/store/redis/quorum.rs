//! Asking servers of which some may be silent.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

/// How long the others have once most have answered: one of them may know of a later failover, and a silent one must not
/// hold up what is known.
const REST_WITHIN: Duration = Duration::from_millis(200);

/// The answers of those that have one: of all, or of most and of those that are not much later.
pub(super) async fn most<T, F: Future<Output = Option<T>>>(asked: Vec<F>) -> Vec<T> {
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let enough = asked.len() / 2 + 1;
    let (mut answers, mut until) = (Vec::new(), None);
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => timeout_at(until, asked.next()).await.ok().flatten(),
        };
        let Some(answer) = next else { return answers };
        answers.extend(answer);
        if answers.len() >= enough && until.is_none() {
            until = Some(Instant::now() + REST_WITHIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn answers(delays: &[Option<u64>]) -> (Vec<usize>, Duration) {
        let since = Instant::now();
        let asked = delays.iter().enumerate().map(|(server, delay)| async move {
            // One without a delay is away, which takes long to find out.
            sleep(Duration::from_millis(delay.unwrap_or(5_000))).await;
            delay.map(|_| server)
        });
        let mut answers = most(asked.collect()).await;
        answers.sort_unstable();
        (answers, since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_minority_is_not_waited_for_long() {
        let (answered, took) = answers(&[Some(1), Some(2), None]).await;
        assert_eq!(answered, [0, 1]);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_a_little_late_is_heard() {
        let (answered, _) = answers(&[Some(1), Some(2), Some(100)]).await;
        assert_eq!(answered, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_minority_is_heard_when_the_others_are_away_for_certain() {
        let (answered, took) = answers(&[None, Some(900), None]).await;
        assert_eq!(answered, [1]);
        assert!(took >= Duration::from_secs(5), "{took:?}");
    }
}
