//! Tidings: a gRPC task service that tells you every transition instead of being asked.
//!
//! A pure state machine decides ([`model`]), the store only compares and commits by revision
//! ([`store`]), its feed only hints, and everything else is a small loop over those three.

pub mod admin;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod journal;
pub mod model;
pub mod proto;
pub mod server;
pub mod service;
pub mod simulator;
pub mod store;
pub mod upstream;
pub mod watch;
pub mod worker;
