//! What a task is and what may happen to it: pure values and functions, no I/O.
//!
//! [`transition::TABLE`] is the whole state machine; [`Task::apply`] is the only way to move a task.

pub mod batch;
pub mod cache_key;
pub mod failure;
pub mod funds;
pub mod id;
pub mod kind;
pub mod outcome;
pub mod price;
pub mod retry;
pub mod schema;
pub mod spec;
pub mod status;
pub mod task;
pub mod transition;
pub mod wait;

pub use batch::{Batch, Counts, ParkReason, Parked};
pub use cache_key::CacheKey;
pub use failure::{Budget, ErrorCode, Failed, Failure, Recourse, Wait};
pub use funds::{Bill, Funds};
pub use id::{BatchId, IdRange, TaskId};
pub use kind::Kind;
pub use outcome::{Cached, Outcome, Usage};
pub use price::{Price, Prices};
pub use schema::Schema;
pub use spec::{Caching, Priority, Spec, TENANT, Work};
pub use status::Status;
pub use task::{Charges, Fence, Task, WorkerId};
pub use transition::{Cause, Event, Illegal, Transition};
pub use wait::{Due, Limits, Reason as WaitReason, Unlimited, Waiting};
