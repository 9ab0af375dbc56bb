//! The three layers on top of each other, and where each value came from.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use toml::Value;

use super::{
    environment::{self, Variables},
    fault::Faults,
    file::{self, Said},
    flags::Flags,
    key::Key,
};

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A key of the TOML file.
    File(PathBuf, &'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A flag.
    Flag(&'static str),
    /// Nowhere.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, key) => write!(f, "{}: {key}", path.display()),
            Origin::Variable(name) | Origin::Flag(name) => f.write_str(name),
            Origin::Default(key) => write!(f, "default of {key}"),
        }
    }
}

/// The layers: file, environment, flags.
pub(super) struct Layers<'a> {
    path: PathBuf,
    file: Said,
    variables: &'a Variables,
    flags: &'a Flags,
}

impl<'a> Layers<'a> {
    /// Reads the file and notes what no layer may say.
    pub(super) fn gather(flags: &'a Flags, variables: &'a Variables, faults: &mut Faults) -> Self {
        let path = flags.config.clone();
        let file = path.as_deref().map(|path| file::read(path, faults));
        environment::check(variables, faults);
        Layers {
            path: path.unwrap_or_default(),
            file: file.unwrap_or_default(),
            variables,
            flags,
        }
    }

    /// The last word on a key, and who said it.
    pub(super) fn find(&self, key: &Key) -> Option<(&str, Origin)> {
        let flag = key
            .flag
            .and_then(|name| Some((self.flags.said(key)?, Origin::Flag(name))));
        let variable = key
            .variable
            .and_then(|name| Some((self.variable(name)?, Origin::Variable(name))));
        flag.or(variable)
            .or_else(|| self.in_file(key))
            .or_else(|| Some((key.default?, Origin::Default(key.path))))
    }

    /// What the file says.
    pub(super) fn in_file(&self, key: &Key) -> Option<(&str, Origin)> {
        let text = self.file.values.get(key.path)?;
        Some((text, Origin::File(self.path.clone(), key.path)))
    }

    /// The file's list of endpoints, and the file's name.
    pub(super) fn endpoints(&self) -> Option<(&Value, &Path)> {
        Some((self.file.endpoints.as_ref()?, &self.path))
    }

    /// The file's table of prices, and the file's name.
    pub(super) fn prices(&self) -> Option<(&Value, &Path)> {
        Some((self.file.prices.as_ref()?, &self.path))
    }

    /// What a variable says.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// What a flag says.
    pub(super) fn flag(&self, key: &Key) -> Option<&str> {
        self.flags.said(key)
    }

    /// Who said the last word on a key.
    pub(super) fn origin(&self, key: &Key) -> Origin {
        self.find(key)
            .map_or(Origin::Default(key.path), |(_, origin)| origin)
    }

    /// Reads a key that has a default. None is a fault, already noted.
    pub(super) fn read<T>(
        &self,
        key: &Key,
        faults: &mut Faults,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.find(key)?;
        parse(text)
            .map_err(|message| faults.add(origin, message))
            .ok()
    }
}
