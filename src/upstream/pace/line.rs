//! One process's part in the schedule of a model: whose turn it is, and what comes back.

use std::collections::VecDeque;

use super::{
    Seconds,
    bucket::{Block, Bucket, News, Throttled},
    control::{Rates, Settings},
    estimate::Estimate,
    float,
    meter::{Meter, Ramp},
    reply::{Answer, Reply, Room},
};

/// Turns of the shared schedule are taken so long before: whoever asks first has the next one, and nobody who comes at
/// just the right moment goes before those who wait.
const AHEAD: Seconds = 2.0;
/// Turns are taken for so long at a time.
const BLOCK: Seconds = 0.1;
/// Turns that were not used for so long are lost.
const STALE: Seconds = 1.0;
/// What remains is never taken to hold calls up for longer than this: the next reply says more.
const HELD_MAX: Seconds = 1.0;
/// Once so many more calls may begin, there is no need to count them.
const BEGUN: f64 = 512.0;
/// Replies that are remembered, to see by how much what remains fell from one call to the next.
const REMEMBERED: usize = 64;

/// What a call weighs before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Bytes of its body.
    pub(crate) bytes: usize,
    /// The longest answer it asks for.
    pub(crate) max_tokens: Option<u64>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Send.
    Go,
    /// Ask again then.
    Wait(Seconds),
    /// Take turns from the schedule first.
    Lease,
}

/// A call on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sent {
    cost: Cost,
    tokens: f64,
    at: Seconds,
    number: u64,
    /// All that went out up to it.
    requests_out: f64,
    tokens_out: f64,
    /// All that answers had used until then.
    tokens_used: f64,
}

/// One process's part in the schedule of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    settings: Settings,
    bucket: Bucket,
    block: Option<Block>,
    meter: Meter,
    ramp: Ramp,
    estimate: Estimate,
    /// Learnt since a telling began.
    news: News,
    /// Being told.
    telling: News,
    number: u64,
    requests_out: f64,
    tokens_out: f64,
    tokens_used: f64,
    replies: VecDeque<(Sent, f64)>,
}

impl Line {
    /// A line that keeps to what was configured.
    pub(crate) fn new(settings: Settings) -> Self {
        Line {
            settings,
            ..Line::default()
        }
    }

    /// The rates at an instant.
    pub(crate) fn rates(&self, now: Seconds) -> Rates {
        self.bucket.rates(&self.settings, now)
    }

    /// The tokens to reserve for a call: no more than a minute's. Guesses are wrong at times, of pictures above all, and the
    /// upstream says itself what it never lets through.
    pub(crate) fn tokens(&self, cost: Cost, now: Seconds) -> f64 {
        let minute = self
            .rates(now)
            .tokens
            .map_or(f64::INFINITY, |rate| 60.0 * rate);
        self.estimate.cost(cost.bytes, cost.max_tokens).min(minute)
    }

    /// How long the upstream takes to let so many tokens through.
    pub(crate) fn length(&self, tokens: f64, now: Seconds) -> Seconds {
        self.rates(now).tokens.map_or(0.0, |rate| tokens / rate)
    }

    /// When a call of so many tokens could go that `ahead` calls and tokens wait before, as far as this process knows.
    pub(crate) fn due(&self, ahead: (f64, f64), tokens: f64, now: Seconds) -> Seconds {
        self.bucket.due(&self.settings, ahead, tokens, now)
    }

    /// Nothing goes out until then.
    pub(crate) fn held_until(&self) -> Seconds {
        self.bucket.gate()
    }

    /// This process's share of the calls a second that may go out; none where any number may.
    pub(crate) fn pace(&self, now: Seconds) -> Option<f64> {
        let rates = self.rates(now);
        let usual = (self.tokens_out / self.requests_out.max(1.0)).max(1.0);
        let paid = rates.tokens.map(|rate| rate / usual);
        let all = match (rates.requests, paid) {
            (Some(calls), Some(paid)) => calls.min(paid),
            (calls, paid) => calls.or(paid)?,
        };
        Some(all / self.bucket.members(now))
    }

    /// While nothing limits the calls, but not many may begin yet: how many.
    pub(crate) fn beginning(&self, now: Seconds) -> Option<f64> {
        Some(self.ramp.spare(now)).filter(|spare| *spare < BEGUN)
    }

    /// What to do with the call whose turn is next.
    pub(crate) fn step(&mut self, tokens: f64, now: Seconds) -> Step {
        let gate = self.bucket.gate();
        if gate > now {
            self.block = None;
            return Step::Wait(gate);
        }
        if self.rates(now).is_free() {
            self.block = None;
            let due = self.ramp.due(now);
            return if due <= now {
                Step::Go
            } else {
                Step::Wait(due)
            };
        }
        let due = self.block.and_then(|block| block.due(tokens));
        match due.filter(|due| *due > now - STALE) {
            Some(due) if due <= now => Step::Go,
            Some(due) => Step::Wait(due),
            None => Step::Lease,
        }
    }

    /// Takes turns for the next call without asking anybody, of which this process has the `share`.
    pub(crate) fn lease_alone(&mut self, tokens: f64, share: f64, now: Seconds) -> Step {
        let due = self.due((0.0, 0.0), tokens, now);
        if due > now {
            return Step::Wait(due);
        }
        let want = (1.0 / share, tokens / share);
        let block = self.bucket.take(&self.settings, want, tokens, now);
        self.block = Some(block.only(1.0, tokens));
        Step::Go
    }

    /// Turns for the next call, of `next` tokens, and for some of those that wait with it, from a schedule that is
    /// `stored` so. Answers what to write and what that gives, or when to ask again.
    pub(crate) fn lease_shared(
        &mut self,
        stored: Bucket,
        next: f64,
        waiting: (f64, f64),
        now: Seconds,
    ) -> Result<(Bucket, Block), Seconds> {
        if let Some(rest) = self.block.take() {
            self.news.requests_back += rest.rest().0;
            self.news.tokens_back += rest.rest().1;
        }
        let mut bucket = self.tell(stored, now);
        let rates = bucket.rates(&self.settings, now);
        let length = rates.tokens.map_or(0.0, |rate| next / rate);
        // By when its own tokens begin to be paid for: else smaller calls of others would always come before a large one.
        let begins = bucket.due(&self.settings, (0.0, 0.0), next, now) - length;
        if begins > now + AHEAD {
            return Err(begins - AHEAD);
        }
        let some = |rate: Option<f64>, all: f64| rate.map_or(all, |rate| all.min(rate * BLOCK));
        let want = (
            some(rates.requests, waiting.0).floor().max(1.0),
            some(rates.tokens, waiting.1).max(next),
        );
        let block = bucket.take(&self.settings, want, next, now);
        Ok((bucket, block))
    }

    /// What to write into a schedule that is `stored` so, for the others to know what this process has learnt.
    pub(crate) fn tell(&mut self, stored: Bucket, now: Seconds) -> Bucket {
        self.telling.add(&std::mem::take(&mut self.news));
        self.bucket = stored;
        self.bucket.learn(&self.settings, &self.telling, now);
        self.bucket.clone()
    }

    /// What was to be written is: it need not be told again, and the turns are this process's.
    pub(crate) fn told(&mut self, written: Bucket, block: Option<Block>, now: Seconds) {
        self.telling = News::default();
        self.bucket = written;
        self.bucket.learn(&self.settings, &self.news, now);
        self.block = block.or(self.block);
    }

    /// The schedule as this process knows it.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// There is something that the others should know at once: a 429.
    pub(crate) fn has_urgent_news(&self) -> bool {
        self.news.throttled.or(self.telling.throttled).is_some()
    }

    /// The next call uses its turn.
    pub(crate) fn used(&mut self, cost: Cost, tokens: f64, now: Seconds) -> Sent {
        if let Some(block) = &mut self.block {
            block.used(tokens);
        }
        self.meter.sent(now);
        self.ramp.sent(now);
        self.number += 1;
        self.requests_out += 1.0;
        self.tokens_out += tokens;
        Sent {
            cost,
            tokens,
            at: now,
            number: self.number,
            requests_out: self.requests_out,
            tokens_out: self.tokens_out,
            tokens_used: self.tokens_used,
        }
    }

    /// A call that had its turn was not sent after all.
    pub(crate) fn gave_back(&mut self, sent: &Sent, now: Seconds) {
        self.requests_out -= 1.0;
        self.tokens_out -= sent.tokens;
        let news = News {
            requests_back: 1.0,
            tokens_back: sent.tokens,
            ..News::default()
        };
        self.learn(&news, now);
    }

    /// A reply came.
    pub(crate) fn heard(&mut self, sent: &Sent, reply: &Reply, now: Seconds) {
        if let Answer::Used(prompt, answer) = reply.answer
            && Estimate::is_sane(prompt, answer)
        {
            self.tokens_used += float(prompt.saturating_add(answer));
        }
        let mut news = News {
            limits: Some((
                Rates {
                    requests: reply.requests.limit,
                    tokens: reply.tokens.limit,
                },
                now,
            )),
            not_before: self.not_before(sent, reply, now),
            ..News::default()
        };
        match reply.answer {
            Answer::Throttled { told, slow_down } => {
                self.meter.answered(true, now);
                news.throttled = Some((
                    Throttled {
                        told,
                        sent_at: sent.at,
                        sent: self.meter.rate(now),
                        refused: self.meter.refused(now),
                        unexplained: reply.says_room(sent.tokens),
                        slow_down,
                    },
                    now,
                ));
            }
            Answer::Used(prompt, answer) => {
                self.meter.answered(false, now);
                self.ramp.answered(now);
                let used = prompt.saturating_add(answer);
                self.compare(sent, reply);
                if used > 0 && Estimate::is_sane(prompt, answer) {
                    self.estimate
                        .learn(sent.cost.bytes, prompt, answer, sent.tokens);
                    if !self.estimate.is_charged_reserved() {
                        news.tokens_back = sent.tokens - float(used);
                    }
                }
            }
            Answer::Overloaded | Answer::Other => {
                self.meter.answered(false, now);
                self.ramp.answered(now);
            }
        }
        self.learn(&news, now);
    }

    /// Applies what was learnt at once, and keeps it for the others.
    fn learn(&mut self, news: &News, now: Seconds) {
        self.bucket.learn(&self.settings, news, now);
        self.news.add(news);
    }

    /// What remained when this call was let in, less what has gone out since: turns before that have no room.
    fn not_before(&self, sent: &Sent, reply: &Reply, now: Seconds) -> (Seconds, Seconds) {
        let held = |room: Room, out: f64| {
            let (Some(limit), Some(remaining)) = (room.limit, room.remaining) else {
                return 0.0;
            };
            let left = remaining + limit * (now - sent.at).max(0.0) - out;
            (now - left / limit).min(now + HELD_MAX)
        };
        let calls = self.requests_out - sent.requests_out;
        let tokens = match self.estimate.is_charged_reserved() {
            true => self.tokens_out - sent.tokens_out + self.estimate.margin(calls),
            false => self.tokens_used - sent.tokens_used,
        };
        (held(reply.requests, calls), held(reply.tokens, tokens))
    }

    /// Looks at how what remains fell from this call's predecessor to it, and from it to its successor.
    fn compare(&mut self, sent: &Sent, reply: &Reply) {
        let (Some(limit), Some(remaining)) = (reply.tokens.limit, reply.tokens.remaining) else {
            return;
        };
        let mut judge = |first: (&Sent, f64), second: (&Sent, f64)| {
            let Some(most) = second.0.cost.max_tokens else {
                return;
            };
            let fall = first.1 - second.1 + limit * (second.0.at - first.0.at);
            let used = second.0.tokens_used - first.0.tokens_used;
            let bytes = second.0.cost.bytes;
            self.estimate.compare(fall, bytes, float(most), used);
        };
        for (other, left) in &self.replies {
            if other.number + 1 == sent.number {
                judge((other, *left), (sent, remaining));
            } else if other.number == sent.number + 1 {
                judge((sent, remaining), (other, *left));
            }
        }
        if self.replies.len() == REMEMBERED {
            self.replies.pop_front();
        }
        self.replies.push_back((*sent, remaining));
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
