//! The wire types, generated from `proto/` at build time.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated code; the .proto files hold its documentation"
)]

mod codec;
mod encoded;

pub use codec::LeanCodec;
pub use encoded::Encoded;

/// `tidings.v1`.
pub mod v1 {
    tonic::include_proto!("tidings.v1");
    include!(concat!(env!("OUT_DIR"), "/server/tidings.v1.rs"));
}

/// The compiled descriptors, imports and comments included, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidings_descriptor.bin"));
