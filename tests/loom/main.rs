//! The orders in which threads can meet, where the library's threads meet without a library in between: the files
//! under test are the library's own, on loom's primitives.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails by panicking"
)]

mod commit;
mod hint;

/// Runs `body` in every order in which its threads can take turns, with up to `switches` of them where no thread has to
/// wait: what goes wrong goes wrong with two, and without a bound it would take hours.
fn explore(switches: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(switches);
    model.check(body);
}
