//! How much of everything a test does: little in `make test`, much when soaking.

use std::sync::LazyLock;

/// Read once: every test of a run is of one scale.
#[expect(
    clippy::disallowed_methods,
    reason = "what a test run is told is no configuration of the server"
)]
static SOAKING: LazyLock<bool> = LazyLock::new(|| {
    std::env::var("TIDINGS_SOAK").is_ok_and(|value| !value.is_empty() && value != "0")
});

/// Whether the long versions are asked for.
pub(crate) fn soaking() -> bool {
    *SOAKING
}

/// The short or the long count.
pub(crate) fn scale(short: usize, long: usize) -> usize {
    if soaking() { long } else { short }
}
