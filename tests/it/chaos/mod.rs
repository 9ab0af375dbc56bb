//! Real servers, killed, frozen and cut off while they work; every run is judged by a strict checker.
//!
//! Short in `make test`, long in `make soak`. Each run draws its chance from one seed, which a failure prints with
//! the command that repeats it.

mod cluster;
mod embedded;
mod failover;
mod fleet;
mod kills;
mod link;
mod load;
mod migration;
mod poison;
mod redis;
mod rolling;
mod row;
mod run;
mod sentinel;
mod twins;
mod watcher;
mod watches;
