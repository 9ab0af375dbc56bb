//! One integration binary: every test that needs more than one pure file.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that cannot go on fails by panicking, and a list of cases is as long as it is"
)]

mod architecture;
mod behaviour;
mod chaos;
mod cli;
mod conformance;
mod embedded;
mod instructions;
mod nodes;
mod quota;
mod readme;
mod redis;
mod simulation;
mod speed;
mod support;
mod transport;
mod upstream;
mod watch;
mod worker;
