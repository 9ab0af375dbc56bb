//! Upstreams behind TLS, whose certificates the machine trusts: in a process of its own, which is told where those are.

use std::{convert::Infallible, path::Path, process::Stdio, sync::Arc, time::Duration};

use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{Certificate, CertifiedKey, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tidings::proto::v1::{ErrorCode, TaskStatus};
use tokio::{
    net::{TcpListener, TcpStream},
    task::block_in_place,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    eventually,
    process::{Process, program},
    server::{prompt, status, status_of, submit, watch_batch},
};

/// The file with what the process trusts.
const TRUSTED: &str = "trusted.pem";
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";
const ANSWER: &str = r#"{"model":"m","choices":[{"index":0,"finish_reason":"stop",
    "message":{"role":"assistant","content":"over TLS"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// The versions in which requests came.
type Versions = Arc<Mutex<Vec<Version>>>;

/// A server that offers this protocol, under a certificate that is trusted.
async fn server(protocol: &[u8], folder: &Path) -> (String, Versions) {
    let made = self_signed();
    trust(folder, &made.cert);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = config
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let versions = Versions::default();
    let told = versions.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(tls.clone(), stream, told.clone()));
        }
    });
    (format!("https://localhost:{port}/v1"), versions)
}

fn self_signed() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// Trusts this certificate alone.
fn trust(folder: &Path, cert: &Certificate) {
    std::fs::write(folder.join(TRUSTED), cert.pem()).unwrap();
}

/// A server of tasks that calls this upstream.
fn process(folder: &Path, base_url: &str) -> Process {
    let store = format!("embedded:{}", folder.join("store").display());
    let mut program = program();
    program.env("SSL_CERT_FILE", folder.join(TRUSTED));
    let args = [
        "--store",
        &store,
        "--upstream-url",
        base_url,
        "--admin-listen",
        "127.0.0.1:0",
        "--log",
        "warn",
    ];
    block_in_place(|| Process::launch(program, &args, Stdio::inherit()))
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, versions: Versions) {
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let is_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
    let answer = service_fn(move |request: Request<Incoming>| {
        versions.lock().push(request.version());
        async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                ANSWER.as_bytes(),
            ))))
        }
    });
    let stream = TokioIo::new(stream);
    // However it ends, the test sees what became of its task.
    let _ = match is_2 {
        true => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, answer)
                .await
        }
        false => http1::Builder::new().serve_connection(stream, answer).await,
    };
}

async fn is_called_over(protocol: &[u8], version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let (base_url, versions) = server(protocol, folder.path()).await;
    let process = process(folder.path(), &base_url);
    let mut client = process.client().await;
    let batch = submit(&mut client, [prompt("a"), prompt("b")]).await;
    let told = watch_batch(&mut client, &batch.batch_id).await;
    let ended = told
        .iter()
        .filter(|task| status_of(task) == TaskStatus::Completed);
    assert_eq!(ended.count(), 2, "{told:?}");
    assert_eq!(*versions.lock(), [version; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_http_2_is_called_in_it() {
    is_called_over(HTTP_2, Version::HTTP_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_http_1_is_called_in_it() {
    is_called_over(HTTP_1, Version::HTTP_11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_is_not_trusted_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (base_url, versions) = server(HTTP_1, folder.path()).await;
    trust(folder.path(), &self_signed().cert);
    let process = process(folder.path(), &base_url);
    let mut client = process.client().await;
    let batch = submit(&mut client, [prompt("a")]).await;
    let failed = eventually("the task is tried again", PATIENCE, async || {
        let task = status(&mut client, &batch.task_ids[0]).await;
        task.attempts.first().and_then(|it| it.error.clone())
    });
    assert_eq!(failed.await.code(), ErrorCode::UpstreamUnreachable);
    assert_eq!(*versions.lock(), []);
}
