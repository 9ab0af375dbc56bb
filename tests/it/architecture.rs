//! The house: rooms on floors, imports that point down, crates kept to their rooms, small files, and a page about
//! the state machine that says what the table says. The tables here are the rule; a line that breaks it is named.

mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tidings::model::{Cause, Status, transition::TABLE};

use source::{Import, Source};

/// Which floor each room is on. An import goes to a lower floor, or stays in its room.
const FLOORS: [(&str, u8); 17] = [
    ("chance", 0),
    ("clock", 0),
    ("proto", 0),
    ("model", 1),
    ("journal", 2),
    ("store", 2),
    ("upstream", 2),
    ("simulator", 2),
    ("worker", 3),
    ("watch", 3),
    ("service", 4),
    ("admin", 4),
    ("config", 5),
    ("server", 6),
    ("cli", 7),
    ("lib", 8),
    ("main", 8),
];

/// Where a crate, or a call, may be named at all: everything else must not know of it.
const KEPT_TO: [(&str, &[&str]); 12] = [
    ("tonic", &["proto", "service", "server", "cli"]),
    ("tonic_types", &["service", "cli"]),
    ("prost", &["proto", "service", "cli"]),
    ("prost_types", &["proto", "service", "cli"]),
    ("redis", &["store/redis"]),
    ("fjall", &["store/embedded"]),
    ("jsonschema", &["model"]),
    ("hyper_rustls", &["upstream"]),
    ("axum", &["admin", "simulator"]),
    ("std::env::var", &["config"]),
    ("env::var", &["config"]),
    (
        "tokio",
        &[
            "store",
            "upstream",
            "simulator",
            "worker",
            "watch",
            "service",
            "admin",
            "server",
            "cli",
            "main",
        ],
    ),
];

/// More than this is two things in one file.
const MAX_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, with its path below `src`.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the sources can be read") {
            let path: PathBuf = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let name = path.strip_prefix(&src).expect("it is below src");
                found.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

/// What is wrong with one file; each fault names its line.
fn faults(name: &str, text: &str) -> Vec<String> {
    let source = Source::new(name, text);
    let Some(own) = floor(source.room()) else {
        return vec![format!(
            "src/{name}: the room `{}` is on no floor",
            source.room()
        )];
    };
    let mut faults = Vec::new();
    for Import { line, room } in source.imports() {
        let place = format!("src/{name}:{line}");
        match floor(&room) {
            _ if room == source.room() => {}
            Some(floor) if floor < own => {}
            Some(floor) => faults.push(format!(
                "{place}: `{}` (floor {own}) must not import `{room}` (floor {floor})",
                source.room()
            )),
            None => faults.push(format!("{place}: `{room}` is no room")),
        }
    }
    for (guest, rooms) in KEPT_TO {
        if !rooms.iter().any(|room| source.is_in(room)) {
            let lines = source.mentions(guest).into_iter();
            faults.extend(
                lines.map(|line| format!("src/{name}:{line}: `{guest}` is kept to {rooms:?}")),
            );
        }
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("src/{name}:{lines}: more than {MAX_LINES} lines"));
    }
    faults
}

#[test]
fn imports_point_down_and_crates_stay_in_their_rooms() {
    let sources = sources();
    assert!(
        sources.iter().any(|(name, _)| name == "lib.rs"),
        "no sources were found"
    );
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|(name, text)| faults(name, text))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_room_of_the_library_is_on_a_floor() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("the library has a root");
    let rooms = lib.lines().filter_map(|line| {
        let (_, name) = line.split_once("mod ")?;
        name.strip_suffix(';')
    });
    let lost: Vec<&str> = rooms.filter(|room| floor(room).is_none()).collect();
    assert!(lost.is_empty(), "no floor is given for {lost:?}");
}

#[test]
fn what_points_up_or_sideways_is_named() {
    let upward =
        "use std::fmt;\nuse crate::{\n    clock::Timestamp,\n    worker::{Pool, watch},\n};\n";
    let expected = "src/model/task.rs:4: `model` (floor 1) must not import `worker` (floor 3)";
    assert_eq!(faults("model/task.rs", upward), [expected]);
    let sideways = "fn hear() { crate::worker::Pool::new() }";
    let expected = "src/watch/hub.rs:1: `watch` (floor 3) must not import `worker` (floor 3)";
    assert_eq!(faults("watch/hub.rs", sideways), [expected]);
    let climbing = "use super::super::server::Server;";
    let expected = "src/store/redis.rs:1: `store` (floor 2) must not import `server` (floor 6)";
    assert_eq!(faults("store/redis.rs", climbing), [expected]);
    let binary = "fn main() { tidings::nowhere::run() }";
    assert_eq!(
        faults("main.rs", binary),
        ["src/main.rs:1: `nowhere` is no room"]
    );
    assert_eq!(
        faults("utils.rs", ""),
        ["src/utils.rs: the room `utils` is on no floor"]
    );
}

#[test]
fn what_points_down_or_is_only_talked_about_passes() {
    let text = r##"//! See crate::server and tonic::Status.
use crate::{model::{Task, TaskId}, store::{self, redis::RedisStore}};
use super::pool;
/* crate::cli */
const WORDS: &str = "crate::server, \" tonic::Status, env::var";
const RAW: &str = r#"crate::"server"#;
const QUOTE: char = '"';
mod tests { use super::*; }
"##;
    assert_eq!(faults("worker/runner.rs", text), Vec::<String>::new());
    assert_eq!(
        faults("store/mod.rs", "pub mod redis;\npub use redis::RedisStore;"),
        Vec::<String>::new()
    );
}

#[test]
fn a_crate_outside_its_rooms_is_named() {
    let text = "use tonic::{Code, Status};\nfn key() { std::env::var(\"KEY\") }\n";
    let faults = faults("worker/pool.rs", text);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("src/worker/pool.rs:1: `tonic` is kept to"));
    assert!(faults[1].starts_with("src/worker/pool.rs:2: `std::env::var` is kept to"));
    assert_eq!(
        super::architecture::faults("service/mod.rs", "use hyper_rustls::HttpsConnector;").len(),
        1
    );
    assert_eq!(
        super::architecture::faults("service/mod.rs", "fn f() { ::redis::cmd() }").len(),
        1
    );
}

#[test]
fn a_long_file_is_named() {
    let text = "\n".repeat(MAX_LINES + 1);
    assert_eq!(
        faults("cli/mod.rs", &text),
        ["src/cli/mod.rs:401: more than 400 lines"]
    );
}

#[test]
fn the_page_about_the_state_machine_shows_the_table() {
    let page = fs::read_to_string(root().join("docs/state-machine.md")).expect("the page is there");
    let told: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("from |"))
        .map(str::to_owned)
        .collect();
    let expected: Vec<String> = TABLE
        .iter()
        .map(|(from, cause, to)| format!("| {} | `{cause:?}` | {} |", from.word(), to.word()))
        .collect();
    assert_eq!(told, expected, "the table of docs/state-machine.md");
    let drawn = TABLE
        .iter()
        .map(|(from, cause, to)| format!("    {} --> {}: {cause:?}", from.word(), to.word()));
    for arrow in drawn {
        assert!(
            page.lines().any(|line| line == arrow),
            "the diagram lacks `{arrow}`"
        );
    }
    let arrows = page
        .lines()
        .filter(|line| line.contains("-->") && !line.contains("[*]"))
        .count();
    assert_eq!(arrows, TABLE.len(), "the diagram has an arrow too many");
    for status in Status::ALL
        .into_iter()
        .filter(|status| status.is_terminal())
    {
        let end = format!("    {} --> [*]", status.word());
        assert!(
            page.lines().any(|line| line == end),
            "the diagram lacks `{end}`"
        );
    }
    for cause in Cause::ALL {
        let heading = format!("**{cause:?}** ");
        assert!(page.contains(&heading), "no paragraph explains {cause:?}");
    }
}
