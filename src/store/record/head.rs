//! The head of a record, which a store looks at without reading the rest.

use super::{Fault, read::Reader};
use crate::{
    clock::Timestamp,
    model::{BatchId, Status, Task},
};

/// Bytes of the head.
pub const HEAD_LEN: usize = 64;
/// The head's first bytes, epoch and revision: the fence.
pub const FENCE_LEN: usize = 12;
/// Where the head says which parts are kept apart.
pub(super) const APART_AT: usize = 22;
/// The layout of the whole record.
const FORMAT: u8 = 1;

/// Which parts of a task are kept apart from its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// What it is to do.
    pub spec: bool,
    /// What came of it.
    pub outcome: bool,
}

impl Apart {
    /// Whether any part is.
    pub fn is_any(self) -> bool {
        self.spec || self.outcome
    }

    fn encode(self) -> u8 {
        u8::from(self.spec) | u8::from(self.outcome) << 1
    }

    pub(super) fn decode(byte: u8) -> Apart {
        Apart {
            spec: byte & 1 != 0,
            outcome: byte & 2 != 0,
        }
    }
}

/// The part of the head that a store looks at without reading the rest.
///
/// ```text
///  0  u32 epoch        4  u64 revision    12  u8 status     13  u8 progress   14  u8 format   15  u8 priority
/// 16  u32 attempt     20  u8 sent         21  u8 aside        22  u8 apart, 1 unused    24  i64 due      32  i64 deadline
/// 40  16 bytes batch id                   56  u32 max cost    60  u32 weight
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The task's epoch.
    pub epoch: u32,
    /// The task's revision.
    pub revision: u64,
    /// The task's status.
    pub status: Status,
    /// 0 to 100.
    pub progress: u8,
    /// The number of the task's priority.
    pub priority: u8,
    /// How often a worker acquired it.
    pub attempt: u32,
    /// The call of the present attempt may have been sent.
    pub sent: bool,
    /// Nothing is reserved for a call of the present attempt.
    pub aside: bool,
    /// Which parts are kept apart: 1 for the spec, 2 for the outcome, or their sum.
    pub apart: Apart,
    /// While queued: the earliest start.
    pub due: Timestamp,
    /// After this it neither starts nor goes on.
    pub deadline: Timestamp,
    /// The batch it belongs to.
    pub batch_id: BatchId,
    /// What one call may cost at most, in millionths of the currency.
    pub max_cost_micros: u32,
    /// Bytes of the task's input.
    pub weight: u32,
}

impl Head {
    /// The head of a task in one piece.
    pub fn of(task: &Task) -> Head {
        Head {
            epoch: task.epoch,
            revision: task.revision(),
            status: task.status(),
            progress: task.progress,
            priority: task.spec.priority as u8,
            attempt: task.attempt(),
            sent: task.sent,
            aside: task.aside,
            apart: Apart::default(),
            due: task.due,
            deadline: task.spec.deadline,
            batch_id: task.batch_id,
            max_cost_micros: task.spec.max_cost_micros,
            weight: u32::try_from(task.spec.weight()).unwrap_or(u32::MAX),
        }
    }

    /// The head's bytes.
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.revision.to_be_bytes());
        bytes[12] = self.status as u8;
        bytes[13] = self.progress;
        bytes[14] = FORMAT;
        bytes[15] = self.priority;
        bytes[16..20].copy_from_slice(&self.attempt.to_be_bytes());
        bytes[20] = u8::from(self.sent);
        bytes[21] = u8::from(self.aside);
        bytes[APART_AT] = self.apart.encode();
        bytes[24..32].copy_from_slice(&self.due.0.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.deadline.0.to_be_bytes());
        bytes[40..56].copy_from_slice(self.batch_id.as_bytes());
        bytes[56..60].copy_from_slice(&self.max_cost_micros.to_be_bytes());
        bytes[60..].copy_from_slice(&self.weight.to_be_bytes());
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// The bytes are too few, of another format, or name no status.
    pub fn decode(bytes: &[u8]) -> Result<Head, Fault> {
        let mut reader = Reader(bytes);
        let head: [u8; HEAD_LEN] = reader.array()?;
        if head[14] != FORMAT {
            return Err(Fault(format!("record format {} is not known", head[14])));
        }
        let mut reader = Reader(&head);
        let (epoch, revision) = (reader.u32()?, reader.u64()?);
        let [status, progress, _format, priority] = reader.array()?;
        let attempt = reader.u32()?;
        let [sent, aside, apart, _] = reader.array()?;
        Ok(Head {
            epoch,
            revision,
            status: Status::from_code(status)
                .ok_or_else(|| Fault(format!("no status has number {status}")))?,
            progress,
            priority,
            attempt,
            sent: sent != 0,
            aside: aside != 0,
            apart: Apart::decode(apart),
            due: Timestamp(reader.i64()?),
            deadline: Timestamp(reader.i64()?),
            batch_id: BatchId::from_bytes(reader.array()?),
            max_cost_micros: reader.u32()?,
            weight: reader.u32()?,
        })
    }
}
