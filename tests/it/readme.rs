//! Runs the transcripts of README.md as printed, on the default ports, and compares what they print.
//!
//! A comment above each fenced block says how it is tested:
//!
//! - `<!-- test: background -->` its commands serve; each is ready once it has printed its first line.
//! - `<!-- test: file NAME -->` it is a file of that name.
//! - `<!-- test: run -->` its commands end; each must succeed and print what stands below it.
//! - `<!-- test: none, REASON -->` it is not run.
//!
//! A command hands what it learns to the next one in files, all in one fresh folder.

mod document;
mod terminal;

use std::{fs, path::Path};

use document::{Step, steps};
use terminal::Terminal;

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_transcripts_of_the_readme_work_as_printed() {
    let text = fs::read_to_string(MANUAL).unwrap();
    let mut terminal = Terminal::open(Path::new(env!("CARGO_MANIFEST_DIR")));
    for step in steps(&text) {
        match step {
            Step::Background(exchanges) => exchanges.iter().for_each(|it| terminal.serve(it)),
            Step::File { name, text } => terminal.write(&name, &text),
            Step::Run(exchanges) => exchanges.iter().for_each(|it| terminal.run(it)),
        }
    }
}

#[test]
fn the_readme_holds_the_transcripts_it_promises() {
    let text = fs::read_to_string(MANUAL).unwrap();
    let commands: Vec<String> = steps(&text)
        .into_iter()
        .flat_map(|step| match step {
            Step::Run(exchanges) | Step::Background(exchanges) => exchanges,
            Step::File { .. } => Vec::new(),
        })
        .map(|exchange| exchange.command)
        .collect();
    for promised in [
        "tidings serve",
        "python ",
        "describe",
        "SubmitBatch",
        "WatchBatch",
        "GetStatus",
    ] {
        assert!(
            commands.iter().any(|command| command.contains(promised)),
            "README.md runs no `{promised}`"
        );
    }
}
