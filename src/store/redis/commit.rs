//! Writing tasks that were moved by one transition.

use std::collections::{HashMap, HashSet};

use redis::Value;

use super::{
    RedisStore,
    echo::Expected,
    link::{Call, Order},
    pack::pack_all,
    reply,
    script::Script,
};
use crate::{
    model::Task,
    store::{Commit, Error, Verdict},
};

/// What the script says of a task that was written, or could be.
const WRITABLE: u8 = b'1';
/// What it says of one that was written so by a call whose answer was lost.
const WRITTEN_BEFORE: u8 = b'2';
/// What it says of all when nothing was written for want of an outcome that should have gone ahead.
const LACKING: u8 = b'3';

impl RedisStore {
    /// Commits, and keeps what was written before it is told.
    pub(super) async fn commit_and_keep(
        &self,
        commits: Vec<Commit>,
    ) -> Result<Vec<Verdict>, Error> {
        let mut expected = Vec::new();
        let verdicts = self.commit_all(&commits, &mut expected).await?;
        let mut chooses = self.feed.recent.chooses();
        let written = commits.into_iter().zip(&verdicts);
        let written = written.filter(|(_, verdict)| **verdict == Verdict::Applied);
        let written = written.map(|(commit, _)| commit.task);
        let kept: Vec<Task> = written.filter(|task| chooses(task)).collect();
        self.feed.recent.wrote(kept.into_iter());
        Ok(verdicts)
    }

    /// The script writes all tasks of a call or none. Those that had moved on are left out of the next attempt, which
    /// is rare.
    async fn commit_all(
        &self,
        commits: &[Commit],
        expected: &mut Vec<Expected>,
    ) -> Result<Vec<Verdict>, Error> {
        let began = self.feed.recent.moment();
        let mut verdicts = vec![Verdict::Conflict; commits.len()];
        let mut open: Vec<usize> = (0..commits.len()).collect();
        // A server without room takes nothing ahead, and a partition may have moved in between; the script takes it all.
        let mut whole = false;
        while !open.is_empty() {
            let (mut calls, mut members) = (Vec::new(), Vec::new());
            // Of two commits of one task the second has to find what the first has left, also when both are tried again.
            open.sort_unstable();
            let mut ids = HashSet::with_capacity(open.len());
            let is_first = |index: &usize| ids.insert(commits[*index].task.id);
            let (firsts, seconds): (Vec<_>, Vec<_>) = open.into_iter().partition(is_first);
            for (partition, indexes) in self.by_partition(commits, &firsts) {
                for packed in pack_all(commits, &indexes, whole) {
                    let (part, ahead, mut args) = packed.into_parts();
                    calls.extend(ahead);
                    let call = Expected::new(&self.feed);
                    args.push(call.name());
                    expected.push(call);
                    calls.push(Call {
                        order: Order::Run(Script::Commit),
                        partition,
                        args,
                    });
                    members.push(part);
                }
            }
            open = seconds;
            let answers = self.router.run(&calls).await;
            let scripts = calls.iter().zip(answers);
            let scripts = scripts.filter(|(call, _)| matches!(call.order, Order::Run(_)));
            for ((call, answer), part) in scripts.zip(members) {
                let answer = answer?;
                let (told, rest) = self.verdicts(call.partition, &answer, part.len())?;
                if let Some(pieces) = rest {
                    self.keep_pieces(pieces, began);
                }
                let was_written = told.iter().all(|it| *it == WRITABLE);
                for (index, told) in part.into_iter().zip(told.iter().copied()) {
                    match told {
                        WRITABLE if !was_written => open.push(index),
                        LACKING => {
                            whole = true;
                            open.push(index);
                        }
                        WRITABLE | WRITTEN_BEFORE => verdicts[index] = Verdict::Applied,
                        _ => {}
                    }
                }
            }
        }
        Ok(verdicts)
    }

    /// Indexes by partition, in order; tasks of partitions that are not there are left out.
    fn by_partition(&self, commits: &[Commit], open: &[usize]) -> Vec<(u16, Vec<usize>)> {
        let mut groups: HashMap<u16, Vec<usize>> = HashMap::new();
        for index in open {
            if let Some(partition) = self.partition_of(commits[*index].task.id.partition()) {
                groups.entry(partition).or_default().push(*index);
            }
        }
        groups.into_iter().collect()
    }

    /// Reads `[now, number of the announcement, string of '1' and '0']`.
    pub(super) fn flags(
        &self,
        partition: u16,
        answer: &Value,
        expected: usize,
    ) -> Result<Vec<bool>, Error> {
        let (verdicts, _) = self.verdicts(partition, answer, expected)?;
        Ok(verdicts.iter().map(|flag| *flag == b'1').collect())
    }

    /// Reads `[now, number of the announcement, string with a byte for each task]`, and what may follow.
    fn verdicts<'a>(
        &self,
        partition: u16,
        answer: &'a Value,
        expected: usize,
    ) -> Result<(&'a [u8], Option<&'a Value>), Error> {
        let odd = || reply::odd("a commit or renewal");
        let [now, seq, flags, rest @ ..] = reply::array(answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        let now = reply::int(now).ok_or_else(odd)?;
        self.hear(partition, now, reply::count(seq).ok_or_else(odd)?);
        let flags = reply::bytes(flags).filter(|flags| flags.len() == expected);
        Ok((flags.ok_or_else(odd)?, rest.first()))
    }
}
