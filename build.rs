//! Compiles `proto/` with protox, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script where to write through the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            "proto/tidings/v1/task.proto",
            "proto/tidings/v1/task_service.proto",
        ],
        ["proto"],
    )?;
    // Reflection serves these bytes; protox keeps the comments and the google/protobuf imports in them.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("tidings_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        // Ordered maps make equal requests encode to equal bytes, which the idempotency hash relies on.
        .btree_map(".")
        .codec_path("crate::proto::LeanCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
