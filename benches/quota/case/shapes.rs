//! Headers that lie or look otherwise, and limits that are enforced otherwise.

use std::time::Duration;

use tidings::simulator::{Headers, Limits, RetryAfter};

use super::paced::{LIKE_A1, LIKE_A2, Scene, limits, play, silent, steady};
use crate::{
    judge::Unit,
    report::{Finding, Outcome, after, percent},
    stage::Bench,
};

const LENGTH: f64 = 240.0;

/// H1.
pub(crate) async fn minus_one(bench: Bench) -> Outcome {
    let limits = Limits {
        headers: Headers::MinusOne,
        ..silent()
    };
    let scene = Scene::of("minus-one", limits, bench.lasting(LENGTH));
    steady(&bench, &scene, LIKE_A2).await
}

/// H2. The limit itself is true, what is left of it is not.
pub(crate) async fn too_high(bench: Bench) -> Outcome {
    let limits = Limits {
        headers: Headers::TooHigh,
        ..silent()
    };
    let scene = Scene::of("too-high", limits, bench.lasting(LENGTH));
    steady(&bench, &scene, LIKE_A2).await
}

/// H3.
pub(crate) async fn azure(bench: Bench) -> Outcome {
    let limits = Limits {
        headers: Headers::Seconds,
        retry_after: RetryAfter::Date,
        ..limits()
    };
    let scene = Scene::of("azure", limits, bench.lasting(LENGTH));
    steady(&bench, &scene, LIKE_A1).await
}

/// H4.
pub(crate) async fn configured(bench: Bench) -> Outcome {
    let scene = Scene {
        config: "requests-per-minute.toml",
        ..Scene::of("configured", silent(), bench.lasting(LENGTH))
    };
    steady(&bench, &scene, LIKE_A1).await
}

/// W1.
pub(crate) async fn ten_seconds(bench: Bench) -> Outcome {
    let burst = Duration::from_secs(10);
    let limits = Limits { burst, ..silent() };
    noted(
        &bench,
        &Scene::of("ten-seconds", limits, bench.lasting(LENGTH)),
    )
    .await
}

/// W2.
pub(crate) async fn sixty_seconds(bench: Bench) -> Outcome {
    let burst = Duration::from_secs(60);
    let limits = Limits { burst, ..silent() };
    noted(
        &bench,
        &Scene::of("sixty-seconds", limits, bench.lasting(LENGTH)),
    )
    .await
}

/// W3.
pub(crate) async fn minutes(bench: Bench) -> Outcome {
    let limits = Limits {
        window: Some(Duration::from_secs(60)),
        ..limits()
    };
    noted(&bench, &Scene::of("minutes", limits, bench.lasting(LENGTH))).await
}

async fn noted(bench: &Bench, scene: &Scene) -> Outcome {
    let run = play(bench, scene).await?;
    let figures = scene.figures(&run.log(Unit::Requests));
    Ok(vec![
        Finding::note(format!("U {}", percent(figures.utilisation))),
        Finding::note(format!("R {:.2} %", figures.throttled * 100.0)),
        Finding::note(format!("Conv {}", after(figures.convergence))),
        run.lost(),
    ])
}
