//! The cases, and what each has to hold.

pub(crate) mod paced;

mod budget;
mod cache;
mod cancel;
mod endpoints;
mod fleet;
mod mixed;
mod money;
mod outage;
mod shapes;
mod tenants;
mod tokens;
mod waits;

use futures::future::BoxFuture;

use super::{report::Outcome, stage::Bench};

/// When a case may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Beside others: it is paced, and leaves the machine idle.
    Together,
    /// By itself: it takes what the machine has, or measures milliseconds.
    Alone,
    /// Elsewhere.
    Never,
}

/// A case of the table.
pub(crate) struct Case {
    /// Its number.
    pub(crate) id: &'static str,
    /// What is tried.
    pub(crate) what: &'static str,
    /// What passes.
    pub(crate) pass: &'static str,
    /// When it may run.
    pub(crate) turn: Turn,
    /// Runs it.
    pub(crate) run: fn(Bench) -> BoxFuture<'static, Outcome>,
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Case] = &[
    Case {
        id: "A1",
        what: "600 RPM in 1 s buckets, headers, 10 min",
        pass: "U ≥ 97 %, R ≤ 0.5 %, Conv ≤ 10 s",
        turn: Turn::Together,
        run: |bench| Box::pin(paced::told(bench)),
    },
    Case {
        id: "A2",
        what: "the same without headers and without retry-after",
        pass: "U ≥ 95 %, R ≤ 2 %, Conv ≤ 45 s",
        turn: Turn::Together,
        run: |bench| Box::pin(paced::untold(bench)),
    },
    Case {
        id: "A3",
        what: "the same, the quota halved from 200 s to 500 s",
        pass: "U ≥ 88 %, R ≤ 2 %, ≥ 95 % of the new rate ≤ 30 s after the fall, ≤ 60 s after the rise",
        turn: Turn::Together,
        run: |bench| Box::pin(paced::halved(bench)),
    },
    Case {
        id: "A4",
        what: "1,200,000 TPM in 1 s buckets, prompts of 50 to 8,000 tokens, a steady backlog of 30 s; tokens charged on admission (sum as at Azure, larger as at OpenAI), or actual, in 10 s buckets, 4 min each",
        pass: "U(TPM) ≥ 93 %, no task waits > 2× the mean",
        turn: Turn::Together,
        run: |bench| Box::pin(tokens::all(bench)),
    },
    Case {
        id: "A5",
        what: "four processes on Redis, one key, 5 min; kill -9 of one half-way",
        pass: "as A1 with U ≥ 95 %, Loss 0, Dup ≤ its in-flight",
        turn: Turn::Together,
        run: |bench| Box::pin(fleet::killed(bench)),
    },
    Case {
        id: "A6",
        what: "5 % 500, 2 % reset after send, 2 % truncated; once a prompt at most",
        pass: "Loss 0, all succeed, calls ≤ 1.10 × tasks, Dup only among ambiguous ones",
        turn: Turn::Alone,
        run: |bench| Box::pin(mixed::healed(bench)),
    },
    Case {
        id: "A7",
        what: "as A1, 503 from 60 s to 120 s",
        pass: "≤ 20 calls wasted before the breaker opens, ≤ 1 probe/s, ≥ 95 % of the rate ≤ 15 s after the end",
        turn: Turn::Together,
        run: |bench| Box::pin(outage::survived(bench)),
    },
    Case {
        id: "A8",
        what: "`insufficient_quota` from the 300th call of 900 tasks until it is paid",
        pass: "≤ in-flight + 1 further calls, batch parked, 0 tasks failed, resume finishes all",
        turn: Turn::Together,
        run: |bench| Box::pin(money::paid(bench)),
    },
    Case {
        id: "A9",
        what: "a budget for about half of the tasks of a batch",
        pass: "billed ≤ the budget always, ≥ 95 % of it used",
        turn: Turn::Alone,
        run: |bench| Box::pin(budget::kept(bench)),
    },
    Case {
        id: "A10",
        what: "100,000 tasks, 30 % of them repeat a prompt, temperature 0",
        pass: "calls = unique prompts, Loss 0, what is shared costs nothing",
        turn: Turn::Alone,
        run: |bench| Box::pin(cache::shared(bench)),
    },
    Case {
        id: "A11",
        what: "no headers; 429 with retry-after 89 s on every 10th call for 2 min",
        pass: "never silent beyond such a wait, ≥ 95 % of the rate once the last of them is over",
        turn: Turn::Together,
        run: |bench| Box::pin(waits::outlived(bench)),
    },
    Case {
        id: "A12",
        what: "retry-after 86,400 s at the cheaper endpoint, the other is free",
        pass: "all work flows to the other within 1 s, the wait is shown",
        turn: Turn::Together,
        run: |bench| Box::pin(endpoints::passed_over(bench)),
    },
    Case {
        id: "A13",
        what: "overhead with an instant upstream",
        pass: "see the speed bench",
        turn: Turn::Never,
        run: |_| Box::pin(async { Ok(Vec::new()) }),
    },
    Case {
        id: "A14",
        what: "a tenant with 100,000 tasks, a minute later one with 10, a batch each, 600 RPM",
        pass: "the small one's p99 wait ≤ 2 s",
        turn: Turn::Together,
        run: |bench| Box::pin(tenants::two(bench)),
    },
    Case {
        id: "H1",
        what: "as A2, 4 min, headers of −1 and 0, as some of Azure's",
        pass: "as A2",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::minus_one(bench)),
    },
    Case {
        id: "H2",
        what: "as A2, 4 min, headers that say that all of the quota is left",
        pass: "as A2",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::too_high(bench)),
    },
    Case {
        id: "H3",
        what: "as A1, 4 min, headers as Azure's, retry-after as a date",
        pass: "as A1",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::azure(bench)),
    },
    Case {
        id: "H4",
        what: "as A2, 4 min, the limit said in the server's configuration",
        pass: "as A1",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::configured(bench)),
    },
    Case {
        id: "W1",
        what: "as A2, 4 min, buckets that hold 10 s",
        pass: "Loss 0; the rest is told, not judged",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::ten_seconds(bench)),
    },
    Case {
        id: "W2",
        what: "as A2, 4 min, buckets that hold 60 s",
        pass: "Loss 0; the rest is told, not judged",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::sixty_seconds(bench)),
    },
    Case {
        id: "W3",
        what: "as A1, 4 min, fixed windows of a minute",
        pass: "Loss 0; the rest is told, not judged",
        turn: Turn::Together,
        run: |bench| Box::pin(shapes::minutes(bench)),
    },
    Case {
        id: "W4",
        what: "as A4, tokens charged actual, in 1 s buckets",
        pass: "told, not judged",
        turn: Turn::Together,
        run: |bench| Box::pin(tokens::actual(bench)),
    },
    Case {
        id: "cancel",
        what: "1,000 running tasks cancelled from another replica",
        pass: "the upstream sees the sockets closed, p99 ≤ 200 ms",
        turn: Turn::Alone,
        run: |bench| Box::pin(cancel::elsewhere(bench)),
    },
];
