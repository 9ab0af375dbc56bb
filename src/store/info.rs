//! What a store says of itself.

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// `embedded` or `redis`.
    pub name: &'static str,
    /// What a submit's reply may promise.
    pub durability: Durability,
    /// Over how many partitions ids are spread.
    pub partitions: u16,
    /// The present epoch.
    pub epoch: u32,
}

/// How well accepted work is kept, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In the memory of the store's process.
    Memory,
    /// On disk within a second.
    FsyncEverySecond,
    /// In the memory of so many replicas as well, before the reply.
    Replicated(u32),
    /// On disk before the reply.
    Fsync,
    /// On disk, here and on so many replicas, before the reply.
    FsyncReplicated(u32),
}
