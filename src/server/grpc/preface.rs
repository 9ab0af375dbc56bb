//! The first bytes of a connection: whoever does not speak HTTP/2 gets no further.

use std::io::Cursor;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join},
    net::TcpStream,
};

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Waits for the preface, and gives the connection back with it still to be read. None when something else came, or
/// the end.
pub(super) async fn expect(
    mut stream: TcpStream,
) -> Option<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let mut rest = &PREFACE[..];
    let mut read = [0; PREFACE.len()];
    while !rest.is_empty() {
        let count = stream.read(&mut read[..rest.len()]).await.ok()?;
        if count == 0 {
            return None;
        }
        rest = rest.strip_prefix(&read[..count])?;
    }
    let (reader, writer) = stream.into_split();
    Some(join(Cursor::new(&PREFACE[..]).chain(reader), writer))
}
