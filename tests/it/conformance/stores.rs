//! How each store under test is started.

mod embedded;
mod model;
mod redis;

use tidings::store::Capacity;

pub(super) use embedded::{embedded, small_embedded};
pub(super) use model::{model, small_model};
pub(super) use redis::{
    cluster, redis, redis_in_four, sentinel, small_cluster, small_redis, small_redis_in_four,
};

/// What a store, or one partition of it, holds that is soon full.
pub(super) const SMALL: Capacity = Capacity {
    tasks: 20,
    bytes: 1_000,
};
