//! How each store under test is started.

mod embedded;
mod model;
mod redis;

pub(super) use embedded::embedded;
pub(super) use model::model;
pub(super) use redis::{cluster, redis, redis_in_four, sentinel};
