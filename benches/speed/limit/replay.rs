//! Sends recorded calls of the scripts to an empty Redis as fast as it takes them, and nothing else.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Parser, Script, Value};

use super::resp::{Sent, commands};
use crate::{Fallible, process::Redis};

/// The scripts that a task costs.
const COUNTED: [&str; 3] = [
    include_str!("../../../src/store/redis/scripts/submit.lua"),
    include_str!("../../../src/store/redis/scripts/acquire.lua"),
    COMMIT,
];
const COMMIT: &str = include_str!("../../../src/store/redis/scripts/commit.lua");

/// What a store has sent for a number of tasks.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    /// Begins the epoch, loads the scripts, and takes a task through them.
    setup: Arc<Vec<u8>>,
    /// How many replies that has.
    setup_replies: usize,
    /// Calls of the scripts that count, one behind the other.
    calls: Arc<Vec<u8>>,
    /// Where each of them ends.
    ends: Arc<Vec<usize>>,
    /// For each of them, whether it is a commit.
    are_commits: Arc<Vec<bool>>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Replayed {
    /// From the first byte sent to the last reply.
    pub(super) took: Duration,
    /// What Redis counted within the scripts.
    pub(super) script_micros: f64,
    /// CPU time of the whole of Redis.
    pub(super) cpu_seconds: f64,
}

impl Calls {
    /// Picks them from what was recorded.
    pub(super) fn of(connections: Vec<Vec<u8>>) -> Fallible<Calls> {
        for bytes in connections {
            if let Some(calls) = Calls::on(&bytes)? {
                return Ok(calls);
            }
        }
        Err("the store sent no script".into())
    }

    /// Those of one connection, if it is the one for commands.
    fn on(bytes: &[u8]) -> Fallible<Option<Calls>> {
        let sent = commands(bytes)?;
        let loads: Vec<(usize, String)> = COUNTED
            .iter()
            .filter_map(|body| load_of(body, bytes, &sent))
            .collect();
        let [(_, submit), _, (_, commit)] = loads.as_slice() else {
            return Ok(None);
        };
        let is_call = |command: &&Sent| {
            called(bytes, command).is_some_and(|hash| loads.iter().any(|(_, it)| it == hash))
        };
        // A script is loaded when it is called first. What counts begins once that is over.
        let loaded = loads.iter().map(|(at, _)| *at).max().unwrap_or_default();
        let submits = |command: &Sent| called(bytes, command) == Some(submit.as_str());
        let begin = sent[loaded..]
            .iter()
            .position(submits)
            .ok_or("no call after the scripts were loaded")?
            + loaded;
        let calls: Vec<&Sent> = sent[begin..].iter().filter(is_call).collect();
        let is_commit = |command: &&Sent| called(bytes, command) == Some(commit.as_str());
        let ends = calls.iter().scan(0, |end, command| {
            *end += command.whole.len();
            Some(*end)
        });
        Ok(Some(Calls {
            ends: Arc::new(ends.collect()),
            setup: Arc::new(bytes[..sent[begin].whole.start].to_vec()),
            setup_replies: begin,
            are_commits: Arc::new(calls.iter().map(is_commit).collect()),
            calls: Arc::new(
                calls
                    .iter()
                    .flat_map(|command| &bytes[command.whole.clone()])
                    .copied()
                    .collect(),
            ),
        }))
    }

    /// A connection to an empty Redis on which what counts can begin.
    fn set_up(&self, redis: &Redis) -> Fallible<(TcpStream, Replies)> {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port))?;
        stream.set_nodelay(true)?;
        let mut replies = Replies::new(&stream)?;
        stream.write_all(&self.setup)?;
        for _ in 0..self.setup_replies {
            // Refusals as well: an old Redis does not know every word with which a client introduces itself.
            replies.any()?;
        }
        Ok((stream, replies))
    }

    /// Sends them to an empty Redis one by one, each once the one before is answered. Answers the ms that each task took,
    /// from its first call to the reply of its commit. Fails unless every one of `count` tasks came to its end.
    pub(super) fn one_by_one(&self, redis: &Redis, count: usize) -> Fallible<Vec<f64>> {
        let (mut stream, mut replies) = self.set_up(redis)?;
        let (mut millis, mut completed, mut from) = (Vec::with_capacity(count), 0, 0);
        let mut began = Instant::now();
        for (end, is_commit) in self.ends.iter().zip(self.are_commits.iter()) {
            stream.write_all(&self.calls[from..*end])?;
            let reply = replies.next()?;
            from = *end;
            if *is_commit {
                completed += applied(&reply);
                millis.push(began.elapsed().as_secs_f64() * 1e3);
                began = Instant::now();
            }
        }
        match completed == count {
            true => Ok(millis),
            false => Err(format!("{completed} of {count} tasks came to their end").into()),
        }
    }

    /// Sends them to an empty Redis. Fails unless every one of `count` tasks came to its end.
    pub(super) fn replay(&self, redis: &Redis, count: usize) -> Fallible<Replayed> {
        let (mut stream, mut replies) = self.set_up(redis)?;
        stream.write_all(b"CONFIG RESETSTAT\r\n")?;
        replies.next()?;
        let before = redis.process.cpu_seconds()?;
        let began = Instant::now();
        let calls = self.calls.clone();
        let writing = std::thread::spawn(move || stream.write_all(&calls).map(|()| stream));
        let mut completed = 0;
        for is_commit in self.are_commits.iter() {
            let reply = replies.next()?;
            if *is_commit {
                completed += applied(&reply);
            }
        }
        let took = began.elapsed();
        let cpu_seconds = redis.process.cpu_seconds()? - before;
        let mut stream = writing.join().map_err(|_| "the writer panicked")??;
        if completed != count {
            return Err(format!("{completed} of {count} tasks came to their end").into());
        }
        stream.write_all(b"INFO commandstats\r\n")?;
        Ok(Replayed {
            took,
            script_micros: script_micros(&replies.next()?)?,
            cpu_seconds,
        })
    }
}

/// Replies, one after the other.
struct Replies {
    parser: Parser,
    stream: BufReader<TcpStream>,
}

impl Replies {
    fn new(stream: &TcpStream) -> Fallible<Replies> {
        Ok(Replies {
            parser: Parser::new(),
            stream: BufReader::with_capacity(1 << 16, stream.try_clone()?),
        })
    }

    fn any(&mut self) -> Fallible<Value> {
        Ok(self.parser.parse_value(&mut self.stream)?)
    }

    fn next(&mut self) -> Fallible<Value> {
        match self.any()? {
            Value::ServerError(error) => Err(format!("redis answers: {error:?}").into()),
            value => Ok(value),
        }
    }
}

/// Where a script with this body was loaded, and the hash by which it is called.
fn load_of(body: &str, bytes: &[u8], sent: &[Sent]) -> Option<(usize, String)> {
    sent.iter()
        .enumerate()
        .find_map(|(at, command)| match command.words.as_slice() {
            [name, _, text] if bytes[name.clone()].eq_ignore_ascii_case(b"script") => {
                let text = std::str::from_utf8(&bytes[text.clone()]).ok()?;
                let hash = || Script::new(text).get_hash().to_owned();
                // As it was filled in: what it says of itself stays.
                let first = body.lines().next()?;
                text.contains(first).then(|| (at, hash()))
            }
            _ => None,
        })
}

/// The hash of the script that a command calls.
fn called<'a>(bytes: &'a [u8], command: &Sent) -> Option<&'a str> {
    let (name, rest) = command.words.split_first()?;
    if !bytes[name.clone()].eq_ignore_ascii_case(b"evalsha") {
        return None;
    }
    std::str::from_utf8(&bytes[rest.first()?.clone()]).ok()
}

/// How many tasks a commit has written.
fn applied(reply: &Value) -> usize {
    let Value::Array(parts) = reply else {
        return 0;
    };
    match parts.get(2) {
        Some(Value::BulkString(verdicts)) => {
            verdicts.iter().filter(|verdict| **verdict == b'1').count()
        }
        _ => 0,
    }
}

/// What `INFO commandstats` says of all calls of scripts.
fn script_micros(reply: &Value) -> Fallible<f64> {
    let text: String = redis::from_redis_value_ref(reply)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let micros = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix("usec=")));
    Ok(micros.ok_or("redis says nothing of its scripts")?.parse()?)
}
