//! How much a test does: little with every run, much when it is asked to soak.

/// Whether `TIDINGS_SOAK` asks for the long runs.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests look at the environment"
)]
pub(crate) fn soaking() -> bool {
    std::env::var_os("TIDINGS_SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// `short` as a rule, `long` when soaking.
pub(crate) fn scale(short: usize, long: usize) -> usize {
    if soaking() { long } else { short }
}
