//! The upstream's bearer key: from a variable or a file, never from a flag or the TOML file themselves.

use std::fmt;

use secrecy::SecretString;

use super::{
    environment::API_KEY,
    fault::Faults,
    key,
    layers::{Layers, Origin},
};

/// The variable that OpenAI's own tools read.
const OPENAI_API_KEY: &str = "OPENAI_API_KEY";

/// The outer None is a fault, already noted; the inner one means that there is no key.
pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<Option<SecretString>> {
    let file_key = &key::UPSTREAM_API_KEY_FILE;
    if let Some(path) = layers.flag(file_key) {
        return from_file(path, &Origin::Flag("--upstream-api-key-file"), faults).map(Some);
    }
    for name in [API_KEY, OPENAI_API_KEY] {
        // An empty variable is how scripts and containers say "none".
        if let Some(text) = layers.variable(name).filter(|text| !text.is_empty()) {
            return checked(text, &Origin::Variable(name), faults).map(Some);
        }
    }
    match layers.in_file(file_key) {
        Some((path, origin)) => from_file(path, &origin, faults).map(Some),
        None => Some(None),
    }
}

/// The key in a file. None is a fault, already noted.
pub(super) fn from_file(
    path: &str,
    origin: &impl fmt::Display,
    faults: &mut Faults,
) -> Option<SecretString> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.add(origin, format!("cannot read {path}: {error}"));
            return None;
        }
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        faults.add(origin, format!("{path} is empty; write the key into it"));
        return None;
    }
    checked(line, origin, faults)
}

/// A key travels in an HTTP header, which takes visible ASCII alone.
pub(super) fn checked(
    text: &str,
    origin: &impl fmt::Display,
    faults: &mut Faults,
) -> Option<SecretString> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(SecretString::from(text.to_owned()));
    }
    faults.add(
        origin,
        "the key holds a space, a line break or a character that an HTTP header cannot carry",
    );
    None
}
