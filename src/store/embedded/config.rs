//! What a store in a directory is told when it is opened.

use std::path::PathBuf;

use crate::store::Capacity;

/// Where the store lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory; made when it is not there. One process serves a directory.
    pub path: PathBuf,
    /// Open it although acknowledged commits are missing. The next epoch begins when they are.
    pub accept_data_loss: bool,
    /// The most that may be unfinished.
    pub capacity: Capacity,
}

impl Config {
    /// The usual capacity.
    pub fn new(path: PathBuf) -> Config {
        Config {
            path,
            accept_data_loss: false,
            capacity: Capacity::default(),
        }
    }
}
