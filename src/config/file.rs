//! The TOML file: read, flattened to dotted keys, and checked for keys that do not exist.

use std::{collections::BTreeMap, path::Path};

use toml::{Table, Value};

use super::{
    endpoint,
    fault::{Faults, suggestion},
    key, price,
};

/// Values of the file by dotted key, as text.
pub(super) type Values = BTreeMap<String, String>;

/// What a file says.
#[derive(Default)]
pub(super) struct Said {
    /// The keys.
    pub(super) values: Values,
    /// The list of endpoints, if there is one.
    pub(super) endpoints: Option<Value>,
    /// The table of prices, if there is one.
    pub(super) prices: Option<Value>,
}

/// Reads a file. What is faulty is left out and noted.
pub(super) fn read(path: &Path, faults: &mut Faults) -> Said {
    let mut said = Said::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.add(
                "--config",
                format!("cannot read {}: {error}", path.display()),
            );
            return said;
        }
    };
    match text.parse::<Table>() {
        Ok(table) => flatten("", &table, path, &mut said, faults),
        Err(error) => {
            // Not the error's own Display: it quotes the line, which may hold a password.
            let place = error.span().map_or(String::new(), |span| {
                let before = text.get(..span.start).unwrap_or(&text);
                format!(" line {}", before.matches('\n').count() + 1)
            });
            let origin = format!("{}{place}", path.display());
            faults.add(origin, format!("not TOML: {}", error.message()));
        }
    }
    said
}

fn flatten(prefix: &str, table: &Table, path: &Path, said: &mut Said, faults: &mut Faults) {
    for (name, value) in table {
        let dotted = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let is_key = key::ALL.iter().any(|key| key.path == dotted);
        match value {
            list if dotted == endpoint::LIST => said.endpoints = Some(list.clone()),
            table if dotted == price::TABLE => said.prices = Some(table.clone()),
            Value::Table(inner) if !is_key && sections().any(|section| section == dotted) => {
                flatten(&dotted, inner, path, said, faults);
            }
            _ if !is_key => {
                let origin = format!("{}: {dotted}", path.display());
                faults.add(origin, format!("no such key{}", meant(&dotted)));
            }
            _ => match as_text(value) {
                Some(text) => {
                    said.values.insert(dotted, text);
                }
                None => faults.add(
                    format!("{}: {dotted}", path.display()),
                    format!("a {} is no value for this key", value.type_str()),
                ),
            },
        }
    }
}

/// What a mistyped key was meant to be. The bearer key gets its own answer: it is the one thing people look for here.
fn meant(dotted: &str) -> String {
    match dotted {
        "upstream.api_key" | "api_key" => {
            "; the key itself never stands here: set `upstream.api_key_file` or TIDINGS_UPSTREAM_API_KEY".to_owned()
        }
        _ => {
            let keys = key::ALL.iter().map(|key| key.path);
            let known = keys.chain(sections()).chain([endpoint::LIST, price::TABLE]);
            suggestion(dotted, "", known)
        }
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    key::ALL
        .iter()
        .filter_map(|key| key.path.split_once('.'))
        .map(|(section, _)| section)
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
