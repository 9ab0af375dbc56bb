//! SIGTERM and SIGINT: the first asks to stop, the second does not ask.

use std::{io, process};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that a signal ended, less the signal's number.
const BY_SIGNAL: i32 = 128;

/// A token that the first signal cancels; a second signal ends the process at once.
pub(super) fn stop_token() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if stop.is_cancelled() {
                process::exit(BY_SIGNAL + kind.as_raw_value());
            }
            stop.cancel();
        }
    });
    Ok(token)
}
