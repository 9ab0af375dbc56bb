//! Output of running attempts: appended piece by piece, read page by page.

use std::collections::HashMap;

use redis::Value;

use super::{
    RedisStore,
    lease::{CALL_TASKS, decimal, fence_bytes},
    link::{Call, Order},
    reply,
    script::Script,
};
use crate::{
    model::TaskId,
    store::{
        Error,
        output::{Extension, OUTPUT_PAGE, Output},
    },
};

impl RedisStore {
    pub(super) async fn extend_all(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        let mut taken = vec![false; extensions.len()];
        let mut groups: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, extension) in extensions.iter().enumerate() {
            if let Some(partition) = self.partition_of(extension.id.partition()) {
                groups.entry(partition).or_default().push(index);
            }
        }
        let (mut calls, mut members) = (Vec::new(), Vec::new());
        for (partition, indexes) in &groups {
            for part in indexes.chunks(CALL_TASKS) {
                let args = part.iter().flat_map(|index| args(&extensions[*index]));
                calls.push(Call {
                    order: Order::Run(Script::Extend),
                    partition: *partition,
                    args: args.collect(),
                });
                members.push(part);
            }
        }
        if calls.is_empty() {
            return Ok(taken);
        }
        let answers = self.router.run_each(&calls).await?;
        for ((call, answer), part) in calls.iter().zip(answers).zip(members) {
            let flags = self.flags(call.partition, &answer, part.len())?;
            for (index, flag) in part.iter().zip(flags) {
                taken[*index] = flag;
            }
        }
        Ok(taken)
    }

    pub(super) async fn read_output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        let Some(partition) = self.partition_of(id.partition()) else {
            return Ok(None);
        };
        let call = Call {
            order: Order::Run(Script::Output),
            partition,
            args: vec![id.as_bytes().to_vec(), decimal(from)],
        };
        let answers = self.router.run_each(&[call]).await?;
        match answers.first() {
            Some(Value::Nil) => Ok(None),
            Some(answer) => page(answer, from)
                .map(Some)
                .ok_or_else(|| reply::odd("an output")),
            None => Err(reply::odd("an output")),
        }
    }
}

fn args(extension: &Extension) -> [Vec<u8>; 4] {
    [
        extension.id.as_bytes().to_vec(),
        fence_bytes(extension.fence),
        decimal(extension.offset),
        extension.text.clone().into_bytes(),
    ]
}

/// Reads `[fence, bytes, how many there are]`. A page may end within a character, the rest of which begins the next.
fn page(answer: &Value, from: u64) -> Option<Output> {
    let [fence, bytes, known] = reply::array(answer)? else {
        return None;
    };
    let (_, revision) = reply::bytes(fence)?.split_at_checked(4)?;
    let bytes = reply::bytes(bytes)?;
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(cut) => {
            let (whole, rest) = bytes.split_at(cut.valid_up_to());
            let is_full = bytes.len() == OUTPUT_PAGE && rest.len() < 4;
            std::str::from_utf8(whole).ok().filter(|_| is_full)?
        }
    };
    Some(Output {
        revision: u64::from_be_bytes(revision.try_into().ok()?),
        offset: from.min(reply::count(known)?),
        text: whole.to_owned(),
    })
}
