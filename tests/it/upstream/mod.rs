//! The client against a simulated upstream, over real sockets.

mod answers;
mod connections;
mod failures;
mod limits;
mod secrets;
mod simulation;
mod throttling;
