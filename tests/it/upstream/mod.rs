//! The client against a simulated upstream, over real sockets.

mod answers;
mod connections;
mod failures;
mod kinds;
mod limits;
mod route;
mod secrets;
mod simulation;
mod streams;
mod throttling;
mod tls;
