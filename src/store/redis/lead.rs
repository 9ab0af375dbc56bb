//! The leads of cache keys. A key has a partition of its own, whatever those of the tasks.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    RedisStore,
    lease::decimal,
    link::{Call, Order},
    reply,
    script::Script,
};
use crate::{
    model::CacheKey,
    store::{Bid, Error, Lead, Over},
};

impl RedisStore {
    pub(super) async fn place_bid(&self, bid: Bid) -> Result<Lead, Error> {
        let over = match bid.over {
            Over::Nobody => Vec::new(),
            Over::This(lead) => lead.encode().to_vec(),
            Over::Anybody => b"*".to_vec(),
        };
        let args = vec![
            bid.key.as_bytes().to_vec(),
            bid.lead.encode().to_vec(),
            over,
            // An instant that is over already is no expiry to Redis before 7.
            decimal(bid.until.0.max(self.router.common.clock.now().0 + 1)),
        ];
        let partition = bid.key.partition(self.partitions);
        let answer = self.router.run_one(Script::Bid, partition, args).await?;
        Lead::decode(
            self.second(&answer)
                .and_then(reply::bytes)
                .ok_or_else(odd)?,
        )
    }

    pub(super) async fn forget_leads(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        let mut parts: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        for key in keys {
            let part = parts.entry(key.partition(self.partitions)).or_default();
            part.push(key.as_bytes().to_vec());
        }
        let calls: Vec<Call> = parts
            .into_iter()
            .map(|(partition, args)| Call {
                order: Order::Run(Script::Forget),
                partition,
                args,
            })
            .collect();
        let mut forgotten = 0;
        for answer in self.router.run_each(&calls).await? {
            let count = self.second(&answer).and_then(reply::count);
            forgotten += count.ok_or_else(odd)?;
        }
        Ok(usize::try_from(forgotten).unwrap_or(usize::MAX))
    }

    /// Reads `[now, what was asked for]`.
    fn second<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        let [now, value] = reply::array(answer)? else {
            return None;
        };
        self.router.common.clock.hear(reply::int(now)?);
        Some(value)
    }
}

fn odd() -> Error {
    reply::odd("the lead of a cache key")
}
