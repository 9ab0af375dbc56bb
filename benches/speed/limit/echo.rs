//! A bare stream of tonic's: what is sent comes back, and nothing is done with it.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Instant,
};

use futures::{
    Stream, StreamExt as _,
    future::{BoxFuture, Ready, ready},
};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{
    Request, Response, Status, Streaming, body::Body, server::NamedService, transport::Channel,
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{Fallible, throughput::PAYLOAD};

/// A message of nothing but bytes.
type Message = Vec<u8>;

const PATH: &str = "/bench.Echo/Echo";

/// Serves echoes on a free port, whose address is printed, until the process is killed.
pub(crate) async fn serve() -> Fallible<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    });
    let server = tonic::transport::Server::builder().add_service(Echo);
    Ok(server.serve_with_incoming(incoming).await?)
}

/// What comes back of these messages, over one stream.
async fn echoed(
    endpoint: &str,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> Fallible<Streaming<Message>> {
    let channel = Channel::from_shared(endpoint.to_owned())?.tcp_nodelay(true);
    let mut client = tonic::client::Grpc::new(channel.connect().await?);
    client.ready().await?;
    let codec = ProstCodec::<Message, Message>::default();
    let path = PathAndQuery::from_static(PATH);
    let reply = client
        .streaming(Request::new(messages), path, codec)
        .await?;
    Ok(reply.into_inner())
}

/// Messages a second over one stream, there and back.
pub(super) async fn rate(endpoint: &str, count: usize) -> Fallible<f64> {
    let messages = futures::stream::iter(std::iter::repeat_n(message(), count));
    let began = Instant::now();
    let mut echoes = echoed(endpoint, messages).await?;
    let mut heard = 0;
    while let Some(echo) = echoes.message().await? {
        heard += usize::from(echo.len() == PAYLOAD);
    }
    if heard != count {
        return Err(format!("{heard} of {count} messages came back").into());
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// The ms that messages take there and back, each sent when the one before has come back.
pub(super) async fn one_by_one(endpoint: &str, count: usize) -> Fallible<Vec<f64>> {
    let (sender, messages) = mpsc::unbounded_channel();
    let mut echoes = echoed(endpoint, UnboundedReceiverStream::new(messages)).await?;
    let mut millis = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        sender.send(message())?;
        echoes
            .message()
            .await?
            .ok_or("the stream of echoes ended")?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(millis)
}

fn message() -> Message {
    vec![b'x'; PAYLOAD]
}

/// The service, as generated code would have it.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(ProstCodec::<Message, Message>::default());
            Ok(server.streaming(SendBack, request).await)
        })
    }
}

/// Its only call.
struct SendBack;

impl Service<Request<Streaming<Message>>> for SendBack {
    type Response = Response<Streaming<Message>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
