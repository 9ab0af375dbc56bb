//! The sets of servers that other tests stand on: they fail over, lose and move what they are told to.

mod cluster;
mod sentinel;
