//! What kind of call a path names, which decides what it may take.

use tokio::time::Instant;

use super::Limits;
use crate::proto::v1::task_service_server::SERVICE_NAME;

/// The kinds of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// SubmitBatch, whose requests are large.
    Submit,
    /// WatchTask and WatchBatch, which stay open.
    Watch,
    /// Any other call on tasks.
    Unary,
    /// Health, reflection, and what does not exist: never refused for load, so that a server under load can be seen.
    Other,
}

impl Method {
    /// The kind of the call with this path: `/tidings.v1.TaskService/SubmitBatch`.
    pub fn of(path: &str) -> Method {
        let name = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(SERVICE_NAME))
            .and_then(|path| path.strip_prefix('/'));
        match name {
            None => Method::Other,
            Some("SubmitBatch") => Method::Submit,
            Some("WatchTask" | "WatchBatch") => Method::Watch,
            Some(_) => Method::Unary,
        }
    }

    /// The largest request that is read.
    pub fn max_bytes(self, limits: &Limits) -> usize {
        match self {
            Method::Submit => limits.max_submit_bytes(),
            Method::Watch | Method::Unary | Method::Other => limits.max_request_bytes(),
        }
    }
}

/// When the client stops waiting, in the extensions of its request. It bounds the waiting, never the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::DESCRIPTORS;

    #[test]
    fn the_calls_that_stream_are_watches_and_no_others() {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
        let mut services = files.iter().flat_map(|file| &file.service);
        let service = services.next().unwrap();
        assert!(services.next().is_none(), "a new service needs its kinds");
        assert!(service.method.len() > 5);
        for method in &service.method {
            let kind = Method::of(&format!("/{SERVICE_NAME}/{}", method.name()));
            assert_eq!(
                method.server_streaming(),
                kind == Method::Watch,
                "{method:?}"
            );
            assert_ne!(kind, Method::Other, "{method:?}");
        }
    }

    #[test]
    fn other_services_and_odd_paths_are_of_no_kind() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "",
            "/",
            "/tidings.v1.TaskServiceX/SubmitBatch",
        ] {
            assert_eq!(Method::of(path), Method::Other, "{path}");
        }
    }

    #[test]
    fn as_many_ids_as_a_call_may_hold_and_as_many_again_are_read() {
        let limits = Limits {
            ids_per_call: 10_000,
            ..Limits::default()
        };
        assert!(Method::Unary.max_bytes(&limits) >= 2 * 10_000 * 38);
        assert!(Method::Unary.max_bytes(&Limits::default()) < 128 << 10);
        assert_eq!(Method::Submit.max_bytes(&Limits::default()), 8 << 20);
    }
}
