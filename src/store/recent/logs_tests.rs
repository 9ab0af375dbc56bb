use std::collections::VecDeque;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    clock::Timestamp,
    model::{IdRange, Status},
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn id() -> BatchId {
    BatchId::new(NOW, 0, 5)
}

fn entry(number: u64) -> Moved {
    Moved {
        task: IdRange::new(NOW, 0, 9, 1).first,
        batch: id(),
        revision: number,
        status: Status::Queued,
    }
}

/// So many entries at the end of a log that has `end`; its batch counts them.
fn piece(end: u64, count: u64) -> Log {
    let mut batch = Batch::new(id(), NOW);
    batch.counts.queued = end;
    Log {
        entries: (end - count..end).map(entry).collect(),
        end,
        batch,
        epoch: 1,
    }
}

fn part(logs: &Logs, from: u64, max: usize) -> Option<(usize, bool)> {
    let part = logs.part(id(), from, max)?;
    let count = part.log.entries.len() as u64;
    assert_eq!(part.log.entries, piece(from + count, count).entries);
    if part.is_last {
        assert_eq!(part.log.end, from + count);
        assert_eq!(part.log.batch.counts.queued, part.log.end);
    }
    Some((part.log.entries.len(), part.is_last))
}

fn following() -> Logs {
    let mut logs = Logs::default();
    logs.follow(id());
    logs
}

#[test]
fn pieces_make_one_log_in_whatever_order_they_come() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]] {
        let mut logs = following();
        let began = logs.moment();
        logs.add(piece(4, 4), began);
        for at in order {
            logs.add(piece(6 + 2 * at, 2), began);
        }
        assert_eq!(part(&logs, 0, 100), Some((10, true)), "{order:?}");
        assert_eq!(part(&logs, 3, 2), Some((2, false)));
        assert_eq!(part(&logs, 10, 2), Some((0, true)));
        assert_eq!(part(&logs, 11, 2), None);
    }
}

#[test]
fn where_others_have_added_something_the_end_is_not_known() {
    let mut logs = following();
    let began = logs.moment();
    logs.add(piece(4, 4), began);
    logs.heard(id(), 5);
    assert_eq!(part(&logs, 2, 100), Some((2, false)));
    assert_eq!(part(&logs, 4, 100), None);
    logs.add(piece(7, 3), began);
    assert_eq!(part(&logs, 4, 100), Some((3, true)));
    logs.add(piece(10, 1), began);
    assert_eq!(
        part(&logs, 4, 100),
        Some((3, false)),
        "8 and 9 are not known"
    );
    assert_eq!(part(&logs, 7, 100), None);
}

#[test]
fn what_was_asked_for_before_anybody_listened_does_not_show_the_end() {
    let mut logs = Logs::default();
    let early = logs.moment();
    logs.add(piece(4, 4), early);
    logs.follow(id());
    assert_eq!(part(&logs, 0, 100), Some((4, false)));
    assert_eq!(part(&logs, 4, 100), None);
    let began = logs.moment();
    logs.add(piece(6, 2), began);
    assert_eq!(part(&logs, 0, 100), Some((6, true)));
}

#[test]
fn nothing_is_known_any_longer_once_hints_were_lost_or_the_batch_has_changed() {
    for forget in [Logs::forget_all as fn(&mut Logs), |logs| logs.amended(id())] {
        let mut logs = following();
        let before = logs.moment();
        logs.add(piece(4, 4), before);
        forget(&mut logs);
        assert_eq!(part(&logs, 0, 100), None);
        logs.add(piece(5, 1), before);
        assert_eq!(part(&logs, 5, 100), None);
        let began = logs.moment();
        logs.add(piece(6, 1), began);
        assert_eq!(part(&logs, 4, 100), Some((2, true)));
    }
}

#[test]
fn a_higher_epoch_takes_the_place_of_what_was_known() {
    let mut logs = following();
    let began = logs.moment();
    logs.add(piece(4, 4), began);
    let anew = Log {
        epoch: 2,
        ..piece(2, 1)
    };
    logs.add(anew, began);
    logs.add(piece(5, 1), began);
    assert_eq!(logs.part(id(), 1, 9).unwrap().log.epoch, 2);
    assert_eq!(logs.part(id(), 0, 9), None);
}

#[test]
fn no_more_is_held_than_there_is_room_for() {
    let mut logs = following();
    let last = 3 * DEEPEST as u64;
    for end in (100..=last).step_by(100) {
        let began = logs.moment();
        logs.add(piece(end, 100), began);
    }
    let first = last / 100 * 100 - DEEPEST as u64;
    assert_eq!(part(&logs, first, 1), Some((1, false)));
    assert_eq!(part(&logs, first - 1, 1), None);
    for number in 0..20_000 {
        let other = BatchId::new(NOW, 0, 100 + number);
        let mut lone = piece(1, 1);
        lone.batch.id = other;
        let began = logs.moment();
        logs.add(lone, began);
        assert!(logs.weight <= MOST);
        assert_eq!(
            logs.weight,
            logs.ends.values().map(End::weight).sum::<usize>()
        );
    }
    assert!(logs.ends.len() <= MOST / LOG);
    logs.leave(id());
    assert!(!logs.ends.contains_key(&id()));
}

/// A store, this process and another one, and a watcher here: calls and hints are under way for as long as they like.
struct World {
    chance: StdRng,
    logs: Logs,
    /// Entries of the truth.
    end: u64,
    /// What is announced and not heard yet: how far the log reaches, and the call where it is this process's own.
    hints: VecDeque<(u64, Option<u64>)>,
    /// Own calls: name, when it began, what it was answered.
    calls: Vec<(u64, Moment, Option<Log>)>,
    /// Hints of own calls that wait for the answer.
    held: Vec<(u64, u64)>,
    named: u64,
    /// The watcher: whether it is there, where it is, whether it was woken; its read, as when it began and what it found.
    watches: bool,
    told: u64,
    woken: bool,
    read: Option<(Moment, Option<Log>)>,
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            chance: StdRng::seed_from_u64(seed),
            logs: Logs::default(),
            end: 0,
            hints: VecDeque::new(),
            calls: Vec::new(),
            held: Vec::new(),
            named: 0,
            watches: false,
            told: 0,
            woken: false,
            read: None,
        }
    }

    fn step(&mut self) {
        match self.chance.random_range(0..10) {
            0 => {
                self.named += 1;
                self.calls.push((self.named, self.logs.moment(), None));
            }
            1 => self.carry_out(),
            2 | 3 => self.answer(),
            4 => {
                self.end += self.chance.random_range(1..4);
                self.hints.push_back((self.end, None));
            }
            5 | 6 => self.hear(),
            7 if !self.watches => {
                self.logs.follow(id());
                (self.watches, self.woken) = (true, true);
            }
            8 if self.chance.random_bool(0.02) => {
                // The subscription broke, and stands again.
                self.hints.clear();
                self.held.clear();
                self.logs.forget_all();
                self.woken = true;
            }
            _ => self.look(),
        }
    }

    /// Some call reaches the store.
    fn carry_out(&mut self) {
        let waiting = self.calls.iter_mut().filter(|call| call.2.is_none());
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return;
        }
        let which = self.chance.random_range(0..waiting.len());
        let count = self.chance.random_range(1..4);
        self.end += count;
        for (at, call) in waiting.into_iter().enumerate() {
            if at == which {
                call.2 = Some(piece(self.end, count));
                self.hints.push_back((self.end, Some(call.0)));
            }
        }
    }

    /// Some answer is taken up; answers overtake each other.
    fn answer(&mut self) {
        let done: Vec<usize> = (0..self.calls.len())
            .filter(|at| self.calls[*at].2.is_some())
            .collect();
        if done.is_empty() {
            return;
        }
        let at = done[self.chance.random_range(0..done.len())];
        let (name, began, log) = self.calls.swap_remove(at);
        self.logs.add(log.unwrap(), began);
        let held: Vec<_> = self.held.extract_if(.., |held| held.0 == name).collect();
        for (_, reaches) in held {
            self.pass_on(reaches);
        }
    }

    fn hear(&mut self) {
        let Some((reaches, call)) = self.hints.pop_front() else {
            return;
        };
        match call {
            Some(name) if self.calls.iter().any(|call| call.0 == name) => {
                self.held.push((name, reaches));
            }
            _ => self.pass_on(reaches),
        }
    }

    fn pass_on(&mut self, reaches: u64) {
        self.logs.heard(id(), reaches);
        self.woken = true;
    }

    fn look(&mut self) {
        match self.read.take() {
            Some((began, None)) => {
                let max = self.chance.random_range(1..6).min(self.end - self.told);
                let log = Log {
                    entries: (self.told..self.told + max).map(entry).collect(),
                    ..piece(self.end, 0)
                };
                self.read = Some((began, Some(log)));
            }
            Some((began, Some(log))) => {
                self.told += log.entries.len() as u64;
                if self.told == log.end {
                    self.logs.add(log, began);
                } else {
                    self.logs.heard(id(), log.end);
                    self.woken = true;
                }
            }
            None if self.watches && self.woken => {
                self.woken = false;
                match part(&self.logs, self.told, 3) {
                    Some((count, is_last)) => {
                        self.told += count as u64;
                        self.woken |= !is_last;
                    }
                    None => self.read = Some((self.logs.moment(), None)),
                }
            }
            None => {}
        }
    }

    fn settle(&mut self) {
        while self.calls.iter().any(|call| call.2.is_none()) {
            self.carry_out();
        }
        while !self.calls.is_empty() {
            self.answer();
        }
        while !self.hints.is_empty() {
            self.hear();
        }
        while self.woken || self.read.is_some() {
            self.look();
        }
    }
}

#[test]
fn a_watcher_is_told_everything_in_order_however_answers_and_hints_interleave() {
    let mut without_reading = 0;
    for seed in 0..3_000 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        if !world.watches {
            continue;
        }
        world.settle();
        assert_eq!(world.told, world.end, "seed {seed}");
        without_reading += u32::from(part(&world.logs, world.end, 1) == Some((0, true)));
    }
    assert!(without_reading > 1_000, "{without_reading}");
}
