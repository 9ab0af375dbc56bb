//! What a slot is made of; `tests/loom` puts its own in their place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

pub(super) use futures::task::AtomicWaker;
