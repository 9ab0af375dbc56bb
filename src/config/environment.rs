//! The environment: read once, here.

use std::{collections::BTreeMap, env, ffi::OsString};

use super::{
    fault::{Faults, suggestion},
    key,
};

/// Where client commands find the server.
pub const ENDPOINT: &str = "TIDINGS_ENDPOINT";
/// The bearer key of the upstream.
pub(super) const API_KEY: &str = "TIDINGS_UPSTREAM_API_KEY";
/// Every variable with this prefix is ours, so one that we do not know is a mistake.
pub(super) const PREFIX: &str = "TIDINGS_";

/// Environment variables by name.
pub type Variables = BTreeMap<String, String>;

/// The variables of this process. What is not UTF-8 is replaced by U+FFFD and refused where it matters.
pub fn environment() -> Variables {
    env::vars_os()
        .map(|(name, value)| {
            let text = |raw: OsString| raw.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .collect()
}

/// Faults of `TIDINGS_*` variables that no command knows, or whose value is not text.
pub fn unknown_variables(variables: &Variables) -> Faults {
    let mut faults = Faults::default();
    check(variables, &mut faults);
    faults
}

pub(super) fn check(variables: &Variables, faults: &mut Faults) {
    for (name, value) in variables {
        let Some(said) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if !known().any(|variable| variable == name) {
            let meant = suggestion(
                said,
                PREFIX,
                known().filter_map(|name| name.strip_prefix(PREFIX)),
            );
            faults.add(name, format!("no such variable{meant}"));
        } else if value.contains('\u{fffd}') {
            faults.add(name, "the value is not UTF-8");
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    key::ALL
        .iter()
        .filter_map(|key| key.variable)
        .chain([API_KEY, ENDPOINT])
}
