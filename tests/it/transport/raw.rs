//! A client below gRPC: whatever HTTP/2 allows, and some that it does not.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::Request;
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

/// What every client says first, with empty settings after it.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
pub(super) const WATCH_TASK: &str = "/tidings.v1.TaskService/WatchTask";
pub(super) const WATCH_BATCH: &str = "/tidings.v1.TaskService/WatchBatch";
pub(super) const SUBMIT: &str = "/tidings.v1.TaskService/SubmitBatch";
pub(super) const INFO: &str = "/tidings.v1.TaskService/GetServerInfo";

/// A connection that does what the test says.
pub(super) struct Raw {
    sender: SendRequest<Bytes>,
    pub(super) ended: JoinHandle<Result<(), h2::Error>>,
}

impl Raw {
    pub(super) async fn connect(endpoint: &str) -> Raw {
        Self::build(endpoint, &Builder::new()).await
    }

    /// A client that never lets the server send a byte of any body.
    pub(super) async fn connect_deaf(endpoint: &str) -> Raw {
        Self::build(endpoint, Builder::new().initial_window_size(0)).await
    }

    async fn build(endpoint: &str, builder: &Builder) -> Raw {
        let stream = tcp(endpoint).await;
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        Raw {
            sender,
            ended: tokio::spawn(connection),
        }
    }

    /// Whether the server takes new streams on this connection.
    pub(super) async fn is_open(&self) -> bool {
        self.sender.clone().ready().await.is_ok()
    }

    /// Begins a call whose request stays open.
    pub(super) async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::post(format!("http://server{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await?;
        sender.send_request(request.body(()).unwrap(), false)
    }

    /// Makes a call with one message.
    pub(super) async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> ResponseFuture {
        let (response, mut body) = self.open(path, headers).await.unwrap();
        // A call that is refused for its headers may be over by now: the response tells.
        let _ = body.send_data(framed(message), true);
        response
    }
}

/// A TCP connection to where a server serves.
pub(super) async fn tcp(endpoint: &str) -> TcpStream {
    let address = endpoint.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A TCP connection that has said that it speaks HTTP/2, and reads on its own terms.
pub(super) async fn begun(endpoint: &str) -> TcpStream {
    let mut stream = tcp(endpoint).await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(SETTINGS).await.unwrap();
    stream
}

/// How many bytes come before the connection is closed.
pub(super) async fn bytes_to_the_end(stream: &mut TcpStream) -> usize {
    let mut received = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut received).await;
    received.len()
}

/// A frame: its kind, flags and stream.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a call, spelled out.
pub(super) fn header_block(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "server"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

/// A message as gRPC frames it.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// Reads an answer to its end: how many bytes of messages, and the gRPC status.
pub(super) async fn status(response: ResponseFuture) -> Result<(usize, String), h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut count = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        count += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or(head.headers);
    let status = trailers
        .get("grpc-status")
        .expect("every call has a status");
    Ok((count, status.to_str().unwrap().to_owned()))
}
