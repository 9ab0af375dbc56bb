//! What clients see: every test talks gRPC to a whole server, on each store.

mod cache;
mod cancel;
mod damage;
mod deltas;
mod endpoints;
mod faults;
mod functions;
mod health;
mod ledger;
mod limits;
mod main_job;
mod options;
mod outcome;
mod overload;
mod pace;
mod parked;
mod queue;
mod replicas;
mod restart;
mod retry;
mod secrets;
mod shutdown;
mod store_away;
mod stream;
mod waits;
mod watch;
