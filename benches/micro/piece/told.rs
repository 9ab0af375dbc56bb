//! What a watcher is told: from the store's answer over the message to the bytes of the reply, as the service itself
//! makes them.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use prost::Message;
use tidings::{
    model::Prices,
    proto::v1::{WatchBatchRequest, WatchTaskRequest, task_service_server::TaskServiceServer},
    service::{Config, Limits, Service},
    store::Capacity,
    watch::Hub,
    worker::Registry,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{
    round::{Round, Rounds},
    world::{TASKS, World, succeeded},
};

/// Submitted, acquired and answered.
const EVENTS_PER_TASK: u64 = 3;
/// Every transition of the batch, and its counters.
pub(super) const BATCH_EVENTS: u64 = EVENTS_PER_TASK * TASKS as u64 + 1;
/// Watches of single tasks, one after the other.
const WATCHES: usize = 64;
/// What they are told.
pub(super) const TASK_EVENTS: u64 = EVENTS_PER_TASK * WATCHES as u64;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

pub(super) fn batch() -> Rounds {
    let teller = Rc::new(Teller::new());
    Box::new(move || {
        let teller = teller.clone();
        let asked = teller.asked();
        Round::new(move || teller.tell(vec![asked]))
    })
}

/// Told to one after another while somebody else watches the batch as well.
pub(super) fn batch_again() -> Rounds {
    let teller = Rc::new(Teller::new());
    let other = teller.watch();
    Box::new(move || {
        let (teller, other) = (teller.clone(), other.clone());
        let asked = teller.asked();
        Round::new(move || {
            let told = teller.tell(vec![asked]);
            drop(other);
            told
        })
    })
}

pub(super) fn tasks() -> Rounds {
    let teller = Rc::new(Teller::new());
    Box::new(move || {
        let teller = teller.clone();
        let asked = teller.world.tasks.iter().take(WATCHES).map(|id| {
            let asked = WatchTaskRequest {
                task_id: id.to_string(),
                ..WatchTaskRequest::default()
            };
            request("/tidings.v1.TaskService/WatchTask", &asked)
        });
        let asked = asked.collect();
        Round::new(move || teller.tell(asked))
    })
}

/// The service, on a store whose tasks have all been answered.
struct Teller {
    service: TaskServiceServer<Service>,
    world: World,
}

impl Teller {
    fn new() -> Self {
        let world = World::new(TASKS);
        let tasks = world.acquire();
        world.commit(tasks, &succeeded());
        let inside = world.runtime.enter();
        let hub = Hub::new(world.store.clone(), CancellationToken::new());
        drop(inside);
        let config = Config {
            limits: Limits::default(),
            capacity: Capacity::default(),
            model: String::new(),
            prices: Prices::default(),
            status_retention: DAY,
            result_retention: DAY,
        };
        let functions = Arc::new(Registry::default());
        let store = world.store.clone();
        let service = Service::new(store, hub, functions, config, CancellationToken::new());
        Teller {
            service: TaskServiceServer::new(service),
            world,
        }
    }

    /// A watch of the batch.
    fn asked(&self) -> Request<Once> {
        let asked = WatchBatchRequest {
            batch_id: self.world.batch.to_string(),
            resume_token: String::new(),
            include_results: true,
        };
        request("/tidings.v1.TaskService/WatchBatch", &asked)
    }

    /// A watch of the batch that is open, and not read.
    fn watch(&self) -> Rc<impl Sized + use<>> {
        let mut service = self.service.clone();
        let asked = self.asked();
        let reply = self.world.runtime.block_on(service.call(asked));
        Rc::new(reply.expect("a service that answers"))
    }

    /// Answers these calls to their ends. Answers how many messages that takes.
    fn tell(&self, asked: Vec<Request<Once>>) -> u64 {
        let mut service = self.service.clone();
        self.world.runtime.block_on(async move {
            let mut told = 0;
            for request in asked {
                let Ok(reply) = service.call(request).await;
                told += messages(&whole(reply.into_body()).await);
            }
            told
        })
    }
}

/// All of a reply.
async fn whole<B>(mut body: B) -> Vec<u8>
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.expect("a stream that ends well");
        if let Some(trailers) = frame.trailers_ref() {
            assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        }
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes
}

/// How many messages these bytes are.
fn messages(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let [_, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        bytes = &rest[length..];
        count += 1;
    }
    count
}

/// A call as it comes in over a connection.
fn request(path: &str, message: &impl Message) -> Request<Once> {
    let mut bytes = vec![0; PREFIX];
    bytes[1..].copy_from_slice(&(message.encoded_len() as u32).to_be_bytes());
    bytes.extend(message.encode_to_vec());
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Once(Some(bytes.into())))
        .expect("a request is made of what requests are made of")
}

/// A body in one piece.
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
