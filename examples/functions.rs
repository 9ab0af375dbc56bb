//! A server with functions of its own: `add`, `mul` and `xsum`. It is configured as `tidings serve` is, by the
//! environment.
//!
//! ```console
//! $ cargo run --example functions
//! $ grpcurl -plaintext -d '{"tasks": [{"functionCall": {"name": "add", "arguments": "[4, 4]"}}]}' \
//!     127.0.0.1:50051 tidings.v1.TaskService/SubmitBatch
//! ```

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tidings::{
    config::{Config, Flags, environment},
    server::Server,
    worker::{
        Function, Registry,
        function::{Context, Error},
    },
};
use tokio_util::sync::CancellationToken;

/// A function of numbers: what it is called, what it takes, and what it answers.
struct Typed<Arguments> {
    name: &'static str,
    takes: &'static str,
    answer: fn(Arguments) -> Option<i64>,
}

#[async_trait]
impl<Arguments: DeserializeOwned + 'static> Function for Typed<Arguments> {
    fn name(&self) -> &str {
        self.name
    }

    async fn call(&self, _: Context, arguments: &str) -> Result<String, Error> {
        // Neither mistake goes away by trying again.
        let arguments = serde_json::from_str(arguments)
            .map_err(|_| Error::Permanent(format!("{} takes {}", self.name, self.takes)))?;
        let answer = (self.answer)(arguments)
            .ok_or_else(|| Error::Permanent(format!("{}: the answer is too large", self.name)))?;
        Ok(answer.to_string())
    }
}

/// The built-in functions and three more.
pub(crate) fn functions() -> Registry {
    let two = "two whole numbers, such as [3, 4]";
    Registry::default()
        .with(Typed {
            name: "add",
            takes: two,
            answer: |(a, b): (i64, i64)| a.checked_add(b),
        })
        .with(Typed {
            name: "mul",
            takes: two,
            answer: |(a, b): (i64, i64)| a.checked_mul(b),
        })
        .with(Typed {
            name: "xsum",
            takes: "one list of whole numbers, such as [[1, 2, 3]]",
            answer: |(numbers,): (Vec<i64>,)| {
                numbers
                    .into_iter()
                    .try_fold(0, |sum: i64, n| sum.checked_add(n))
            },
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&Flags::default(), &environment())?;
    let server = Server::bind_with(config, functions()).await?;
    println!("{}", server.banner());
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    server.serve(stop).await?;
    Ok(())
}
