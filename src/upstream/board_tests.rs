//! Which route a call takes, and what becomes of one that finds none.

use super::*;
use crate::model::{Failure, ParkReason};

const SECOND: Duration = Duration::from_secs(1);
const WORK: Work<'static> = Work {
    model: "m",
    path: "/chat/completions",
};

/// Routes to endpoints of their own, at these prices.
fn board(prices: &[f64]) -> Board {
    let seats = prices.iter().enumerate();
    Board::new(
        seats
            .map(|(endpoint, price)| Seat {
                endpoint,
                price: *price,
            })
            .collect(),
    )
}

fn asking(began: Instant) -> Asking<'static> {
    Asking {
        work: WORK,
        began,
        refused: Vec::new(),
    }
}

/// Routes whose rate limits hold the model back for so long.
fn open_in(waits: &[Duration]) -> Vec<Candidate> {
    let waits = waits.iter().enumerate();
    waits
        .map(|(route, opens_in)| Candidate {
            route,
            opens_in: *opens_in,
        })
        .collect()
}

fn open(count: usize) -> Vec<Candidate> {
    open_in(&vec![Duration::ZERO; count])
}

fn failed(code: ErrorCode, recourse: Recourse) -> Failed {
    Failed {
        failure: Failure {
            http_status: 400,
            ..Failure::new(code, format!("{code:?}"))
        },
        recourse,
    }
}

fn broke() -> Failed {
    failed(
        ErrorCode::QuotaExhausted,
        Recourse::Park(ParkReason::QuotaExhausted),
    )
}

fn unknown_model() -> Failed {
    failed(ErrorCode::ModelNotFound, Recourse::Never)
}

fn told(seconds: u32) -> Failed {
    failed(
        ErrorCode::RateLimited,
        Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(seconds * SECOND),
        },
    )
}

fn overloaded() -> Failed {
    failed(
        ErrorCode::UpstreamOverloaded,
        Recourse::Retry {
            budget: Budget::Overload,
            wait: Wait::Told(SECOND),
        },
    )
}

impl Board {
    /// Where a new call goes.
    fn first(&mut self, candidates: &[Candidate], now: Instant) -> usize {
        match self.pick(&asking(now), candidates, now) {
            Pick::Go { route, .. } => route,
            other => panic!("{other:?}"),
        }
    }

    /// Sends the call on until it is served, or no route is left. `say` answers for the routes. Which were asked, and
    /// the failure when there is one.
    fn drive(
        &mut self,
        candidates: &[Candidate],
        now: Instant,
        say: impl Fn(usize) -> Result<(), Failed>,
    ) -> (Vec<usize>, Option<Failed>) {
        let (mut asking, mut asked) = (asking(now), Vec::new());
        loop {
            let route = match self.pick(&asking, candidates, now) {
                Pick::Go { route, .. } => route,
                Pick::Nowhere => return (asked, self.verdict(&asking, candidates, now)),
                Pick::Hold(rest) => panic!("held back for {rest:?}"),
            };
            asked.push(route);
            match self.answer(route, say(route), now) {
                (_, Ok(_)) => return (asked, None),
                (Next::Elsewhere, Err(failed)) => asking.refused.push((route, failed)),
                (_, Err(failed)) => return (asked, Some(failed)),
            }
        }
    }

    /// A call goes out to `route`, which says this.
    fn answer(
        &mut self,
        route: usize,
        said: Result<(), Failed>,
        now: Instant,
    ) -> (Next, Result<Outcome, Failed>) {
        let permit = self.admit(WORK, route, now, now).expect("it may go out");
        let ended = said.map(|()| Outcome::default());
        (self.ended(WORK, route, permit, &ended, now).0, ended)
    }
}

#[test]
fn the_earliest_goes_before_the_cheapest_and_that_before_turns() {
    let now = Instant::now();
    let mut board = board(&[2.0, 1.0, 1.0]);
    let taken: Vec<usize> = (0..6).map(|_| board.first(&open(3), now)).collect();
    assert_eq!(taken, [1, 2, 1, 2, 1, 2], "the cheap ones, in turns");
    let free = open_in(&[Duration::ZERO, SECOND, 2 * SECOND]);
    assert_eq!(board.first(&free, now), 0, "dear, but free");
    let waits = open_in(&[3 * SECOND, 2 * SECOND, SECOND]);
    let Pick::Go {
        route,
        opens_in,
        next_best,
        ..
    } = board.pick(&asking(now), &waits, now)
    else {
        panic!("it goes somewhere");
    };
    assert_eq!((route, opens_in, next_best), (2, SECOND, Some(2 * SECOND)));
    let only = [Candidate {
        route: 0,
        opens_in: Duration::ZERO,
    }];
    assert_eq!(board.first(&only, now), 0, "only who serves the model");
}

#[test]
fn a_route_that_cannot_serve_is_set_aside_and_the_call_goes_on_at_once() {
    for said in [broke(), unknown_model(), told(86_400)] {
        let now = Instant::now();
        let mut board = board(&[1.0, 2.0]);
        let say = |route| {
            if route == 0 {
                Err(said.clone())
            } else {
                Ok(())
            }
        };
        assert_eq!(board.drive(&open(2), now, say), (vec![0, 1], None));
        for _ in 0..100 {
            assert_eq!(board.drive(&open(2), now, say), (vec![1], None));
        }
        // Another model is no business of this mark.
        let other = Asking {
            work: Work { model: "n", ..WORK },
            ..asking(now)
        };
        let picked = board.pick(&other, &open(2), now);
        assert!(matches!(picked, Pick::Go { route: 0, .. }), "{picked:?}");
    }
}

#[test]
fn a_route_without_money_is_tried_by_one_call_each_half_minute() {
    let start = Instant::now();
    let mut board = board(&[1.0, 2.0]);
    let poor = |route| if route == 0 { Err(broke()) } else { Ok(()) };
    let asked: usize = (0..6_000)
        .map(|n| board.drive(&open(2), start + n * SECOND / 100, poor).0)
        .filter(|asked| asked.contains(&0))
        .count();
    assert_eq!(asked, 2, "in the first minute");
    let rich = start + 61 * SECOND;
    assert_eq!(board.drive(&open(2), rich, |_| Ok(())), (vec![0], None));
    assert_eq!(board.drive(&open(2), rich, |_| Ok(())), (vec![0], None));
}

#[test]
fn a_call_whose_turn_comes_later_does_not_ask_those_that_cannot_serve_it() {
    let now = Instant::now();
    let mut board = board(&[1.0, 2.0]);
    let say = |route| if route == 0 { Err(broke()) } else { Ok(()) };
    assert_eq!(board.drive(&open(2), now, say), (vec![0, 1], None));
    let waits = open_in(&[Duration::ZERO, 40 * SECOND]);
    let say = |_| Err(held_back(40 * SECOND));
    let end = Some(held_back(40 * SECOND));
    assert_eq!(board.drive(&waits, now + SECOND, say), (vec![1], end));
    assert!(
        board.is_well(1, "m"),
        "a turn that is far says nothing of it"
    );
}

#[test]
fn a_route_is_well_that_is_neither_set_aside_nor_failing() {
    let now = Instant::now();
    let mut board = board(&[1.0, 1.0, 1.0]);
    assert!(
        (0..3).all(|route| board.is_well(route, "m")),
        "nobody knows"
    );
    let say = |route| match route {
        0 => Err(broke()),
        1 => Err(overloaded()),
        _ => Ok(()),
    };
    for n in 0..25 {
        board.drive(&open(3), now + n * SECOND, say);
    }
    let well = |model: &str| (0..3).map(|route| board.is_well(route, model)).collect();
    let (known, other): (Vec<bool>, Vec<bool>) = (well("m"), well("n"));
    assert_eq!(known, [false, false, true]);
    assert_eq!(other, [true, true, true]);
}

#[test]
fn only_when_every_route_says_so_the_batch_parks() {
    let now = Instant::now();
    let mut board = board(&[1.0, 2.0, 3.0]);
    let (asked, end) = board.drive(&open(3), now, |_| Err(broke()));
    assert_eq!((asked, end), (vec![0, 1, 2], Some(broke())));
    // What is resumed asks them all again, until one has money.
    let resumed = now + SECOND;
    let say = |route| if route == 2 { Ok(()) } else { Err(broke()) };
    assert_eq!(board.drive(&open(3), resumed, say), (vec![0, 1, 2], None));
    assert_eq!(board.drive(&open(3), resumed, say), (vec![2], None));
}

#[test]
fn a_call_that_waited_for_its_turn_does_not_go_where_others_were_sent_away_meanwhile() {
    let start = Instant::now();
    let mut board = board(&[1.0]);
    board.drive(&open(1), start + SECOND, |_| Err(broke()));
    let (now, work) = (start + 2 * SECOND, WORK);
    assert!(board.admit(work, 0, start, now).is_none() && board.admit(work, 0, now, now).is_some());
}

#[test]
fn what_others_were_told_meanwhile_is_not_asked_again() {
    let start = Instant::now();
    let mut board = board(&[1.0, 2.0]);
    let mut early = asking(start);
    let later = start + SECOND;
    board.drive(&open(2), later, |_| Err(broke()));
    let _ = board.answer(0, Err(broke()), later);
    early.refused.push((0, broke()));
    let picked = board.pick(&early, &open(2), later);
    assert!(matches!(picked, Pick::Nowhere), "{picked:?}");
    assert_eq!(board.verdict(&early, &open(2), later), Some(broke()));
}

#[test]
fn what_passes_by_itself_goes_before_what_has_to_be_mended_and_that_before_the_end() {
    let verdict = |said: [Failed; 3]| {
        let mut board = board(&[1.0, 2.0, 3.0]);
        let (_, end) = board.drive(&open(3), Instant::now(), |route| Err(said[route].clone()));
        end.unwrap()
    };
    assert_eq!(
        verdict([unknown_model(), unknown_model(), unknown_model()]),
        unknown_model()
    );
    assert_eq!(
        verdict([unknown_model(), broke(), unknown_model()]),
        broke()
    );
    assert_eq!(verdict([broke(), overloaded(), told(500)]), overloaded());
    let waits = verdict([unknown_model(), told(500), told(86_400)]);
    assert_eq!(waits, told(500), "until the first comes back");
    let waits = verdict([broke(), told(86_400), told(86_400)]);
    let half_a_minute = Reason::Money.lasts();
    assert_eq!(throttled(&waits), Some(half_a_minute), "{waits:?}");
}

#[test]
fn a_told_pause_is_kept_and_not_asked_about() {
    let start = Instant::now();
    let mut board = board(&[1.0]);
    board.drive(&open(1), start, |_| Err(told(500)));
    let later = start + 100 * SECOND;
    let (asked, end) = board.drive(&open(1), later, |_| Ok(()));
    assert!(asked.is_empty());
    let end = end.unwrap();
    assert_eq!(throttled(&end), Some(400 * SECOND));
    assert_eq!(end.failure.http_status, 0, "it was not sent");
    let back = start + 500 * SECOND;
    assert_eq!(board.drive(&open(1), back, |_| Ok(())), (vec![0], None));
}

#[test]
fn what_may_have_been_answered_is_never_sent_elsewhere() {
    for code in [
        ErrorCode::UpstreamConnectionLost,
        ErrorCode::UpstreamTimeout,
        ErrorCode::StreamTruncated,
        ErrorCode::UpstreamBadResponse,
        ErrorCode::UpstreamError,
    ] {
        let recourse = overloaded().recourse;
        let mut board = board(&[1.0, 1.0]);
        let (asked, end) = board.drive(&open(2), Instant::now(), |_| Err(failed(code, recourse)));
        assert_eq!((asked, end), (vec![0], Some(failed(code, recourse))));
    }
}

#[test]
fn a_server_that_is_away_or_overloaded_is_passed_over_and_then_given_a_rest() {
    for code in [
        ErrorCode::UpstreamUnreachable,
        ErrorCode::UpstreamOverloaded,
    ] {
        let now = Instant::now();
        let mut board = board(&[1.0, 2.0]);
        let say = |route| match route {
            0 => Err(failed(code, overloaded().recourse)),
            _ => Ok(()),
        };
        let mut wasted = 0;
        for n in 0..400 {
            let (asked, end) = board.drive(&open(2), now + n * SECOND / 100, say);
            assert_eq!(end, None);
            wasted += asked.len() - 1;
        }
        assert_eq!(
            wasted, 5,
            "{code:?}: two at once, the others a second apart"
        );
        assert_eq!((board.open_breakers(0), board.open_breakers(1)), (1, 0));
    }
}

#[test]
fn keys_of_one_endpoint_share_its_breaker_and_alone_it_holds_calls_back() {
    let now = Instant::now();
    let seat = Seat {
        endpoint: 0,
        price: 1.0,
    };
    let mut board = Board::new(vec![seat, seat]);
    for n in 0..5 {
        let now = now + n * SECOND;
        let route = board.first(&open(2), now);
        let _ = board.answer(route, Err(overloaded()), now);
    }
    let now = now + 4 * SECOND;
    let picked = board.pick(&asking(now), &open(2), now);
    assert!(
        matches!(picked, Pick::Hold(rest) if rest == SECOND),
        "{picked:?}"
    );
    assert!((0..2).all(|route| board.admit(WORK, route, now, now).is_none()));
}

#[test]
fn breakers_of_many_models_are_forgotten_once_they_are_idle() {
    let start = Instant::now();
    let mut board = board(&[1.0]);
    for n in 0..10_000 {
        let now = start + n * SECOND;
        let model = format!("model-{n}");
        let work = Work {
            model: &model,
            ..WORK
        };
        let asking = Asking {
            work,
            ..asking(now)
        };
        board.pick(&asking, &open(1), now);
    }
    assert!(
        board.breakers.len() <= 2 * MANY + 1,
        "{}",
        board.breakers.len()
    );
}
