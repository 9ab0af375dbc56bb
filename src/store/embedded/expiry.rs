//! What is to be removed, and when.

use fjall::OwnedWriteBatch;

use super::disk::{Disk, decode_instant, instant_key};
use crate::{
    clock::Timestamp,
    model::{BatchId, CacheKey, TaskId},
    store::Error,
};

/// Something that is to be removed at an instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expiry {
    /// Terminal tasks; at least one.
    Tasks(Vec<TaskId>),
    /// The memory of removed tasks; at least one.
    Tombs(Vec<TaskId>),
    /// An idempotency key.
    Key(String),
    /// A done batch with its log.
    Batch(BatchId),
    /// The lead of a cache key.
    Lead(CacheKey),
}

impl Expiry {
    /// The key in `expiry`: `u64 instant | u8 kind | id`, of many tasks the first one's.
    pub(super) fn key(&self, at: Timestamp) -> Vec<u8> {
        let first = |ids: &'_ [TaskId]| ids.first().map(|id| *id.as_bytes()).unwrap_or_default();
        let (tasks, tombs);
        let (kind, id): (u8, &[u8]) = match self {
            Expiry::Tasks(ids) => {
                tasks = first(ids);
                (6, &tasks)
            }
            Expiry::Tombs(ids) => {
                tombs = first(ids);
                (7, &tombs)
            }
            Expiry::Key(key) => (3, key.as_bytes()),
            Expiry::Batch(id) => (4, id.as_bytes()),
            Expiry::Lead(key) => (5, key.as_bytes()),
        };
        let mut bytes = instant_key(at).to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(id);
        bytes
    }

    /// What stands under the key: the ids of tasks, one after the other.
    fn value(&self) -> Vec<u8> {
        match self {
            Expiry::Tasks(ids) | Expiry::Tombs(ids) => {
                ids.iter().flat_map(|id| *id.as_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Reads such an entry. Those of one task each were written once.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(Timestamp, Expiry), Error> {
        let unknown = || Error::Corrupt("an expiry entry means nothing".into());
        let (at, rest) = key.split_at_checked(8).ok_or_else(unknown)?;
        let (kind, id) = rest.split_first().ok_or_else(unknown)?;
        let id16 = || <[u8; 16]>::try_from(id).map_err(|_| unknown());
        let expiry = match kind {
            1 => Expiry::Tasks(vec![TaskId::from_bytes(id16()?)]),
            2 => Expiry::Tombs(vec![TaskId::from_bytes(id16()?)]),
            3 => Expiry::Key(String::from_utf8(id.to_vec()).map_err(|_| unknown())?),
            4 => Expiry::Batch(BatchId::from_bytes(id16()?)),
            5 => Expiry::Lead(CacheKey::from_bytes(id.try_into().map_err(|_| unknown())?)),
            6 => Expiry::Tasks(task_ids(value).ok_or_else(unknown)?),
            7 => Expiry::Tombs(task_ids(value).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        };
        Ok((decode_instant(at)?, expiry))
    }

    /// Remembers to remove this at `at`.
    pub(super) fn put(&self, disk: &Disk, writes: &mut OwnedWriteBatch, at: Timestamp) {
        writes.insert(&disk.expiry, self.key(at), self.value());
    }
}

/// At least one id.
fn task_ids(bytes: &[u8]) -> Option<Vec<TaskId>> {
    let (ids, rest) = bytes.as_chunks::<16>();
    let are_whole = rest.is_empty() && !ids.is_empty();
    are_whole.then(|| ids.iter().copied().map(TaskId::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::IdRange;

    #[test]
    fn an_expiry_key_comes_back_and_sorts_by_instant() {
        let batch = BatchId::new(Timestamp(5), 0, 7);
        let tasks: Vec<TaskId> = IdRange::new(Timestamp(5), 0, 7, 3).iter().collect();
        let all = [
            Expiry::Tasks(tasks.clone()),
            Expiry::Tombs(tasks.clone()),
            Expiry::Key("tenant/key".into()),
            Expiry::Batch(batch),
            Expiry::Lead(CacheKey::from_bytes([9; 32])),
        ];
        for expiry in &all {
            let key = expiry.key(Timestamp(9));
            assert_eq!(
                Expiry::decode(&key, &expiry.value()).unwrap(),
                (Timestamp(9), expiry.clone())
            );
            assert!(key < all[0].key(Timestamp(10)));
        }
        for (kind, alone) in [(1, Expiry::Tasks as fn(_) -> _), (2, Expiry::Tombs)] {
            let mut key = instant_key(Timestamp(9)).to_vec();
            key.push(kind);
            key.extend(tasks[0].as_bytes());
            let expected = (Timestamp(9), alone(vec![tasks[0]]));
            assert_eq!(Expiry::decode(&key, &[]).unwrap(), expected);
        }
        for cut in [0, 15, 17] {
            let key = all[0].key(Timestamp(9));
            assert!(Expiry::decode(&key, &all[0].value()[..cut]).is_err());
        }
        assert!(Expiry::decode(&[0; 9], &[]).is_err());
        assert!(Expiry::decode(&[], &[]).is_err());
    }
}
