//! The real binary, run as a person or a script would run it.

mod config;
mod running;
mod scripted;
mod serving;
mod unreachable;
mod usage;
mod watching;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

/// The binary with an environment of its own.
fn tidings(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr of a run that ends by itself.
fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is text");
    let code = output.status.code().expect("ended by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

/// Runs the binary to its end.
fn run(arguments: &[&str]) -> (i32, String, String) {
    ended(&tidings(arguments).output().expect("the binary runs"))
}

/// Runs the binary to its end with this input.
fn run_with_input(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = tidings(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).expect("input is read");
    drop(stdin);
    ended(&child.wait_with_output().expect("the binary ends"))
}
