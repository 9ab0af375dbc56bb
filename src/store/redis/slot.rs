//! Values that processes agree on.

use super::{RedisStore, lease::decimal, reply, script::Script};
use crate::store::{Error, Slot, Swap};

impl RedisStore {
    pub(super) async fn swap_slot(&self, swap: Swap) -> Result<Slot, Error> {
        let hash = blake3::hash(swap.key.as_bytes());
        let [first, second, ..] = *hash.as_bytes();
        let partition = u16::from_be_bytes([first, second]) % self.partitions;
        let args = vec![
            swap.key.into_bytes(),
            swap.version.to_be_bytes().to_vec(),
            swap.value,
            decimal(swap.keep.as_millis()),
        ];
        let answer = self.router.run_one(Script::Swap, partition, args).await?;
        let odd = || reply::odd("a value that processes agree on");
        let [now, swapped, version, value] = reply::array(&answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        self.hear(partition, reply::int(now).ok_or_else(odd)?, 0);
        let version = reply::bytes(version).and_then(|bytes| bytes.try_into().ok());
        Ok(Slot {
            version: u64::from_be_bytes(version.ok_or_else(odd)?),
            value: reply::bytes(value).ok_or_else(odd)?.to_vec(),
            swapped: reply::int(swapped) == Some(1),
        })
    }
}
