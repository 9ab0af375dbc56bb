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
    // Ordered maps make equal requests encode to equal bytes, which the idempotency hash relies on.
    let generate = || {
        let lean = tonic_prost_build::configure().codec_path("crate::proto::LeanCodec");
        lean.btree_map(".")
    };
    generate()
        .build_server(false)
        .compile_fds(descriptors.clone())?;
    // A server sends what it tells watchers as bytes: many may be told the same.
    let mut server = generate().build_client(false);
    for name in ["WatchTaskResponse", "WatchBatchResponse"] {
        let bytes = format!("crate::proto::Encoded<crate::proto::v1::{name}>");
        server = server.extern_path(format!(".tidings.v1.{name}"), bytes);
    }
    let folder = out.join("server");
    fs::create_dir_all(&folder)?;
    server
        .extern_path(".tidings.v1", "crate::proto::v1")
        .out_dir(folder)
        .compile_fds(descriptors)?;
    Ok(())
}
