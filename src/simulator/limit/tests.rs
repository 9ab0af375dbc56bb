use super::*;

/// A limiter, and a clock that only the test winds.
struct Trial {
    limiter: Limiter,
    start: Instant,
}

impl Trial {
    fn new(limits: Limits) -> Self {
        limits.check().unwrap();
        Trial {
            limiter: Limiter::new(limits),
            start: Instant::now(),
        }
    }

    fn decide(&self, key: &str, ask: Ask, millis: u64) -> Decision {
        let holder = (key.to_owned(), "m".to_owned());
        let now = self.start + Duration::from_millis(millis);
        self.limiter.admit(holder, ask, (now, Timestamp(0)))
    }

    fn admits(&self, key: &str, (input, output): (u64, u64), millis: u64) -> bool {
        let decision = self.decide(key, Ask { input, output }, millis);
        matches!(decision.admission, Admission::Admitted)
    }

    /// How many of calls sent every 20 ms between two instants are admitted.
    fn through(&self, from: u64, to: u64) -> usize {
        let calls = (from..to).step_by(20);
        calls.filter(|at| self.admits("k", (1, 1), *at)).count()
    }
}

fn requests(per_minute: u64) -> Limits {
    Limits {
        requests_per_minute: Some(per_minute),
        ..Limits::default()
    }
}

fn tokens(per_minute: u64, token_charge: TokenCharge) -> Limits {
    Limits {
        tokens_per_minute: Some(per_minute),
        token_charge,
        ..Limits::default()
    }
}

#[test]
fn requests_refill_continuously() {
    let trial = Trial::new(requests(600));
    let at_once = (0..20).filter(|_| trial.admits("k", (1, 1), 0));
    assert_eq!(at_once.count(), 10, "one second's worth at once");
    assert!(!trial.admits("k", (1, 1), 99));
    assert!(trial.admits("k", (1, 1), 101));
    assert!(!trial.admits("k", (1, 1), 101));
}

#[test]
fn each_key_and_model_has_its_own_quota() {
    let trial = Trial::new(requests(60));
    assert!(trial.admits("a", (1, 1), 0));
    assert!(!trial.admits("a", (1, 1), 0));
    assert!(trial.admits("b", (1, 1), 0));
    let other_model = ("a".to_owned(), "other".to_owned());
    let ask = Ask {
        input: 1,
        output: 1,
    };
    let decision = trial
        .limiter
        .admit(other_model, ask, (trial.start, Timestamp(0)));
    assert!(matches!(decision.admission, Admission::Admitted));
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let trial = Trial::new(tokens(6_000, TokenCharge::Sum));
    assert!(trial.admits("k", (40, 60), 0));
    let refused = trial.decide(
        "k",
        Ask {
            input: 20,
            output: 30,
        },
        0,
    );
    let Admission::Refused { what, retry_after } = refused.admission else {
        panic!("{refused:?}");
    };
    assert_eq!((what, retry_after), ("tokens", Duration::from_millis(500)));
    assert_eq!(refused.charged, 0);
    for (name, value) in [
        ("retry-after-ms", "500"),
        ("retry-after", "1"),
        ("x-ratelimit-limit-tokens", "6000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1s"),
    ] {
        assert!(
            refused.headers.contains(&(name, value.to_owned())),
            "{name}"
        );
    }
    let too_large = trial.decide(
        "k",
        Ask {
            input: 41,
            output: 60,
        },
        0,
    );
    assert!(matches!(too_large.admission, Admission::TooLarge));
}

#[test]
fn tokens_are_charged_by_the_rule() {
    for (charge, charged) in [(TokenCharge::Sum, 90), (TokenCharge::Larger, 60)] {
        let trial = Trial::new(tokens(6_000, charge));
        let decision = trial.decide(
            "k",
            Ask {
                input: 30,
                output: 60,
            },
            0,
        );
        assert_eq!(decision.charged, charged, "{charge}");
        assert!(trial.admits("k", (0, 100 - charged), 0), "{charge}");
        assert!(!trial.admits("k", (1, 0), 0), "{charge}");
    }
}

#[test]
fn actual_tokens_are_charged_after_the_answer_and_paid_off_by_waiting() {
    let trial = Trial::new(tokens(6_000, TokenCharge::Actual));
    assert!(trial.admits("k", (9_000, 9_000), 0), "it is charged later");
    let holder = ("k".to_owned(), "m".to_owned());
    assert_eq!(trial.limiter.settle(&holder, 300, trial.start), 300);
    // 100 held, 300 used, 100 a second come in.
    assert!(!trial.admits("k", (1, 1), 2_000));
    assert!(trial.admits("k", (1, 1), 2_020));
    let charged_before = Trial::new(tokens(6_000, TokenCharge::Sum));
    assert_eq!(charged_before.limiter.settle(&holder, 300, trial.start), 0);
}

#[test]
fn refused_calls_use_up_the_limit_where_they_are_charged() {
    // One call every 20 ms against 10 a second, for 10 s after the first.
    let fair = Trial::new(requests(600));
    fair.through(0, 1_000);
    assert!((99..=101).contains(&fair.through(1_000, 11_000)));
    let strict = Trial::new(Limits {
        charge_refused: true,
        ..requests(600)
    });
    strict.through(0, 1_000);
    assert_eq!(
        strict.through(1_000, 11_000),
        0,
        "who does not wait gets nothing"
    );
    assert!(strict.admits("k", (1, 1), 12_000), "who waits does");
}

#[test]
fn fixed_windows_start_anew() {
    let trial = Trial::new(Limits {
        window: Some(Duration::from_secs(60)),
        ..requests(600)
    });
    assert_eq!(trial.through(0, 60_000), 600);
    let refused = trial.decide(
        "k",
        Ask {
            input: 1,
            output: 1,
        },
        59_000,
    );
    assert!(refused.headers.contains(&("retry-after", "1".to_owned())));
    assert_eq!(trial.through(60_000, 120_000), 600);
}

#[test]
fn limits_change_on_schedule() {
    let change = |secs, factor| QuotaChange {
        after: Duration::from_secs(secs),
        factor,
    };
    let trial = Trial::new(Limits {
        changes: vec![change(20, 0.5), change(50, 1.0)],
        ..requests(600)
    });
    trial.through(0, 10_000);
    assert!((99..=101).contains(&trial.through(10_000, 20_000)));
    assert!((148..=152).contains(&trial.through(20_000, 50_000)));
    let told = trial
        .decide(
            "k",
            Ask {
                input: 1,
                output: 1,
            },
            49_990,
        )
        .headers;
    assert!(told.contains(&("x-ratelimit-limit-requests", "300".to_owned())));
    assert!((98..=101).contains(&trial.through(50_000, 60_000)));
}

#[test]
fn contradictory_limits_are_refused() {
    let changes = |changes: &[(u64, f64)]| Limits {
        changes: changes
            .iter()
            .map(|(secs, factor)| QuotaChange {
                after: Duration::from_secs(*secs),
                factor: *factor,
            })
            .collect(),
        ..Limits::default()
    };
    for limits in [
        requests(0),
        tokens(0, TokenCharge::Sum),
        Limits {
            burst: Duration::ZERO,
            ..Limits::default()
        },
        Limits {
            window: Some(Duration::ZERO),
            ..Limits::default()
        },
        changes(&[(1, 0.0)]),
        changes(&[(1, f64::NAN)]),
        changes(&[(2, 0.5), (1, 1.0)]),
    ] {
        assert!(limits.check().is_err(), "{limits:?}");
    }
    assert!(changes(&[(1, 0.5), (2, 1.0)]).check().is_ok());
}

#[test]
fn changes_and_charges_are_read_from_text() {
    let change = QuotaChange {
        after: Duration::from_secs(200),
        factor: 0.5,
    };
    assert_eq!("200s=0.5".parse(), Ok(change));
    for bad in ["", "200s", "soon=1", "200s=half"] {
        assert!(bad.parse::<QuotaChange>().is_err(), "{bad}");
    }
    assert_eq!("larger".parse(), Ok(TokenCharge::Larger));
    assert!("both".parse::<TokenCharge>().is_err());
}
