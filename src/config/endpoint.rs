//! Several endpoints: the tables `[[upstream.endpoints]]` of the TOML file.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    path::Path,
};

use secrecy::SecretString;
use toml::{Table, Value};

use super::{
    api_key,
    environment::{API_KEY, PREFIX},
    fault::{Faults, suggestion},
    key::{self, Key},
    layers::{Layers, Origin},
    upstream::{base_url, limit},
    value::{self, shown},
};
use crate::upstream::{Endpoint, Models, Style};

/// Where they stand in the file.
pub(super) const LIST: &str = "upstream.endpoints";
/// What may stand in one of them.
const FIELDS: [&str; 10] = [
    "name",
    "url",
    "api_key_file",
    "api_key_env",
    "requests_per_minute",
    "tokens_per_minute",
    "adaptive_concurrency",
    "style",
    "price",
    "models",
];
/// What one costs that does not say: endpoints that say nothing are equals.
const PRICE: f64 = 1.0;
/// The longest name of an endpoint.
const MAX_NAME: usize = 64;

/// The endpoints; an empty list when there are none. None is a fault, already noted.
pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<Vec<Endpoint>> {
    let Some((list, path)) = layers.endpoints() else {
        return Some(Vec::new());
    };
    let origin = format!("{}: {LIST}", path.display());
    let tables = match list {
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_table) => list,
        _ => {
            faults.add(
                origin,
                "is no list of tables; write [[upstream.endpoints]] before each",
            );
            return None;
        }
    };
    refuse_single(layers, list, faults);
    let tables = tables.iter().filter_map(Value::as_table).enumerate();
    let read: Vec<Option<Endpoint>> = tables
        .map(|(index, table)| {
            let mut entry = Entry {
                layers,
                path,
                table,
                index,
                faults,
            };
            entry.read()
        })
        .collect();
    let endpoints: Vec<Endpoint> = read.into_iter().collect::<Option<_>>()?;
    let mut names = BTreeSet::new();
    for endpoint in &endpoints {
        if !names.insert(&endpoint.name) {
            let message = format!("two endpoints have the name {}", shown(&endpoint.name));
            faults.add(&origin, message);
        }
    }
    Some(endpoints)
}

/// One server and several are two ways to say whom to ask, which would leave open which of them holds.
fn refuse_single(layers: &Layers, list: &Value, faults: &mut Faults) {
    let said = |key: &Key| {
        let origin = layers.find(key).map(|(_, origin)| origin);
        origin.filter(|origin| !matches!(origin, Origin::Default(_)))
    };
    let single = [&key::UPSTREAM_URL, &key::UPSTREAM_API_KEY_FILE];
    for origin in single.into_iter().filter_map(said) {
        let message = format!("says the same as [[{LIST}]] does; leave one of them out");
        faults.add(origin, message);
    }
    let settings = [
        &key::UPSTREAM_REQUESTS_PER_MINUTE,
        &key::UPSTREAM_TOKENS_PER_MINUTE,
        &key::UPSTREAM_ADAPTIVE_CONCURRENCY,
    ];
    for origin in settings.into_iter().filter_map(said) {
        let message =
            format!("holds for no endpoint; write it into those of [[{LIST}]] that it is for");
        faults.add(origin, message);
    }
    let is_said = layers.variable(API_KEY).is_some_and(|key| !key.is_empty());
    if is_said && !list.to_string().contains(API_KEY) {
        faults.add(
            API_KEY,
            "no endpoint uses it; name it in `api_key_env` of one, or unset it",
        );
    }
}

/// One table of the list, being read.
struct Entry<'a, 'l> {
    layers: &'a Layers<'l>,
    path: &'a Path,
    table: &'a Table,
    index: usize,
    faults: &'a mut Faults,
}

impl Entry<'_, '_> {
    /// Reads every field before it looks at any outcome, so that no fault hides another.
    fn read(&mut self) -> Option<Endpoint> {
        self.refuse_unknown();
        let name = self.name();
        let url = self.url();
        let keys = self.keys();
        let requests_per_minute = self.limit("requests_per_minute");
        let tokens_per_minute = self.limit("tokens_per_minute");
        let adaptive_concurrency = self.switch("adaptive_concurrency");
        let style = self.style();
        let price = self.price();
        let models = self.models();
        Some(Endpoint {
            name: name?,
            base_url: url?,
            keys: keys?,
            requests_per_minute: requests_per_minute?,
            tokens_per_minute: tokens_per_minute?,
            adaptive_concurrency: adaptive_concurrency?,
            style: style?,
            price: price?,
            models: models?,
        })
    }

    fn refuse_unknown(&mut self) {
        for field in self.table.keys() {
            if FIELDS.contains(&field.as_str()) {
                continue;
            }
            let meant = match field.as_str() {
                "api_key" | "key" => {
                    "; the key itself never stands here: set `api_key_file` or `api_key_env`"
                        .to_owned()
                }
                field => suggestion(field, "", FIELDS),
            };
            self.fault(field, format!("no such key{meant}"));
        }
    }

    fn name(&mut self) -> Option<String> {
        let default = format!("endpoint-{}", self.index + 1);
        self.text("name", Some(&default), |text| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_plain) {
                return Ok(text.to_owned());
            }
            Err(format!(
                "{} is not a name; write up to {MAX_NAME} letters, digits, `.`, `_` and `-`",
                shown(text)
            ))
        })
    }

    fn url(&mut self) -> Option<String> {
        if !self.table.contains_key("url") {
            self.fault(
                "url",
                "is missing; write an absolute URL such as https://api.openai.com/v1",
            );
            return None;
        }
        self.text("url", None, base_url)
    }

    /// A number or `auto`.
    fn limit(&mut self, field: &str) -> Option<Option<NonZeroU64>> {
        if let Some(Value::Integer(number)) = self.table.get(field) {
            let read = limit(&number.to_string());
            return read.map_err(|message| self.fault(field, message)).ok();
        }
        self.text(field, Some("auto"), limit)
    }

    /// Off where it is left out.
    fn switch(&mut self, field: &str) -> Option<bool> {
        if let Some(Value::Boolean(switch)) = self.table.get(field) {
            return Some(*switch);
        }
        self.text(field, Some("false"), value::switch)
    }

    fn style(&mut self) -> Option<Style> {
        self.text("style", Some(Style::OpenAi.word()), |text| {
            let mut known = [Style::OpenAi, Style::Azure].into_iter();
            known
                .find(|style| style.word() == text)
                .ok_or_else(|| format!("{} is neither openai nor azure", shown(text)))
        })
    }

    fn price(&mut self) -> Option<f64> {
        let price = match self.table.get("price") {
            None => Some(PRICE),
            Some(Value::Float(price)) => Some(*price),
            Some(Value::Integer(price)) => Some(*price as f64),
            Some(_) => None,
        };
        let price = price.filter(|price| price.is_finite() && *price >= 0.0);
        if price.is_none() {
            self.fault(
                "price",
                "is not a number from 0 up; the lowest is preferred",
            );
        }
        price
    }

    /// A list of names, or a table of names with what the endpoint calls them.
    fn models(&mut self) -> Option<Models> {
        let pairs: Option<Vec<(String, &str)>> = match self.table.get("models") {
            None => return Some(Models::Any),
            Some(Value::Array(names)) => names
                .iter()
                .map(|name| Some((name.as_str()?.to_owned(), name.as_str()?)))
                .collect(),
            Some(Value::Table(names)) => names
                .iter()
                .map(|(name, theirs)| Some((name.clone(), theirs.as_str()?)))
                .collect(),
            Some(_) => None,
        };
        let pairs = pairs.filter(|pairs| !pairs.is_empty());
        let names = pairs.and_then(|pairs| {
            let named = |(name, theirs): (String, &str)| {
                Some((value::name(&name).ok()?, value::name(theirs).ok()?))
            };
            pairs
                .into_iter()
                .map(named)
                .collect::<Option<BTreeMap<_, _>>>()
        });
        if names.is_none() {
            self.fault(
                "models",
                "names no models; write [\"gpt-4o\"], or { \"gpt-4o\" = \"what the endpoint calls it\" }, \
                 or leave it out for any",
            );
        }
        names.map(Models::Named)
    }

    /// The keys of files, then those of variables.
    fn keys(&mut self) -> Option<Vec<SecretString>> {
        let (files, variables) = (self.words("api_key_file"), self.words("api_key_env"));
        let (files, variables) = (files?, variables?);
        let mut keys = Vec::new();
        for file in &files {
            let origin = self.origin("api_key_file");
            keys.push(api_key::from_file(file, &origin, self.faults));
        }
        for variable in &variables {
            keys.push(self.variable(variable));
        }
        keys.into_iter().collect()
    }

    fn variable(&mut self, name: &str) -> Option<SecretString> {
        if name.starts_with(PREFIX) && name != API_KEY {
            let message = format!(
                "{} begins with {PREFIX}, which is kept for settings; choose another name",
                shown(name)
            );
            self.fault("api_key_env", message);
            return None;
        }
        match self.layers.variable(name).filter(|text| !text.is_empty()) {
            Some(text) => api_key::checked(text, &name, self.faults),
            None => {
                let message = format!("the variable {} is not set, or is empty", shown(name));
                self.fault("api_key_env", message);
                None
            }
        }
    }

    /// One word or a list of them.
    fn words(&mut self, field: &str) -> Option<Vec<String>> {
        let words = match self.table.get(field) {
            None => Some(Vec::new()),
            Some(Value::String(word)) => Some(vec![word.clone()]),
            Some(Value::Array(words)) => {
                let words = words.iter().map(|word| Some(word.as_str()?.to_owned()));
                words.collect()
            }
            Some(_) => None,
        };
        if words.is_none() {
            self.fault(field, "is neither a text nor a list of them");
        }
        words
    }

    fn text<T>(
        &mut self,
        field: &str,
        default: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match self.table.get(field) {
            None => parse(default?),
            Some(Value::String(text)) => parse(text),
            Some(other) => Err(format!("a {} is no value for this key", other.type_str())),
        };
        read.map_err(|message| self.fault(field, message)).ok()
    }

    fn fault(&mut self, field: &str, message: impl Into<String>) {
        self.faults.add(self.origin(field), message);
    }

    fn origin(&self, field: &str) -> String {
        format!("{}: {LIST}[{}].{field}", self.path.display(), self.index)
    }
}
