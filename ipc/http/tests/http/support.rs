//! A small engine, and a connection to it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::ReadBufCursor;
use mlos_api::*;
use mlos_http::{Config, Edge, Timer, serve_connection};
use mlos_tensor_mem::{DType, Pool, PoolConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers each model's requests with their own inputs, unless the model's name says otherwise.
#[derive(Clone)]
pub struct Fake(Rc<Inner>);

pub struct Inner {
    pool: Pool,
    models: Vec<Arc<ModelDetail>>,
    pub draining: Cell<bool>,
    pub breaths: Cell<usize>,
    pub seen: RefCell<Vec<InferRequest>>,
    pub registered: RefCell<Vec<RegisterRequest>>,
    pub started: Notify,
    pub cancelled: Notify,
    pub release: Notify,
}

impl std::ops::Deref for Fake {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

pub fn pool() -> Pool {
    Pool::new(PoolConfig::default()).unwrap()
}

pub fn dims(dims: &[i64], names: &[&str]) -> Vec<Dim> {
    let name = |axis: usize| {
        names
            .get(axis)
            .filter(|name| !name.is_empty())
            .map(|name| (*name).to_owned())
    };
    let dim = |(axis, size): (usize, &i64)| {
        usize::try_from(*size).map_or_else(|_| Dim::Dynamic(name(axis)), Dim::Fixed)
    };
    dims.iter().enumerate().map(dim).collect()
}

pub fn spec(name: &str, dtype: DType, sizes: &[i64], names: &[&str]) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        dtype,
        dims: dims(sizes, names),
    }
}

pub fn model(id: &str, inputs: Vec<TensorSpec>, preprocessing: Preprocessing) -> ModelDetail {
    ModelDetail {
        model: ModelRef::parse(&format!("{id}@1.0.0")).unwrap(),
        state: LifecycleState::Ready,
        failure: None,
        active: true,
        format: String::from("onnx"),
        framework: String::from("pytorch"),
        description: String::from("for tests"),
        plugin: String::from("onnx"),
        path: PathBuf::from("/models").join(id),
        signatures: vec![Signature {
            outputs: inputs.clone(),
            inputs,
            rows_independent: true,
            slice_profile: vec![SliceProfile {
                rows: 1,
                total_ns: 1000,
                longest_slice_ns: 500,
                checkpoints: 2,
            }],
            ..Signature::default()
        }],
        preprocessing,
        class_default: Class::Normal,
        resident_bytes: 1 << 20,
        load_ms: 5,
        versions: vec![String::from("1.0.0")],
    }
}

pub fn bert(id: &str, preprocessing: Preprocessing) -> ModelDetail {
    let input = |name| spec(name, DType::I64, &[-1, -1], &["batch", "sequence"]);
    model(
        id,
        vec![
            input("input_ids"),
            input("attention_mask"),
            input("token_type_ids"),
        ],
        preprocessing,
    )
}

impl Fake {
    pub fn new() -> Self {
        let digits = |id| {
            model(
                id,
                vec![spec("pixels", DType::F32, &[-1, 1, 8, 8], &["batch"])],
                Preprocessing::None,
            )
        };
        let models = vec![
            digits("test/digits"),
            digits("test/slow"),
            digits("test/full"),
            digits("test/late"),
            digits("test/broken"),
            model(
                "test/vision",
                vec![spec("pixels", DType::F32, &[-1, 3, 224, 224], &[])],
                Preprocessing::Image,
            ),
            bert("test/bert", Preprocessing::Text),
        ];
        Self(Rc::new(Inner {
            pool: pool(),
            models: models.into_iter().map(Arc::new).collect(),
            draining: Cell::default(),
            breaths: Cell::default(),
            seen: RefCell::default(),
            registered: RefCell::default(),
            started: Notify::default(),
            cancelled: Notify::default(),
            release: Notify::default(),
        }))
    }
}

/// Tells that the future which holds it was dropped before its end.
struct OnDrop<'a>(Option<&'a Notify>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.inspect(|notify| notify.notify_one());
    }
}

impl Service for Fake {
    fn model(&self, model: &ModelRef) -> Result<Arc<ModelDetail>, Error> {
        let found = self.models.iter().find(|detail| {
            detail.model.id == model.id && (model.version.is_none() || detail.model.version == model.version)
        });
        found.cloned().ok_or_else(|| Error::ModelNotFound {
            asked: model.clone(),
            nearest: vec![String::from("test/digits")],
        })
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn breathe(&self) {
        self.breaths.set(self.breaths.get() + 1);
        tokio::task::yield_now().await;
    }

    async fn infer(&self, request: InferRequest) -> Result<InferResponse, Error> {
        let detail = self.model(&request.model)?;
        self.seen.borrow_mut().push(request.clone());
        match request.model.id.as_str() {
            "test/slow" => {
                let mut guard = OnDrop(Some(&self.cancelled));
                self.started.notify_one();
                self.release.notified().await;
                guard.0 = None;
            }
            "test/full" => {
                return Err(Error::Overloaded {
                    what: String::from("the queue"),
                    retry_after_ms: 1500,
                });
            }
            "test/late" => {
                return Err(Error::DeadlineMiss {
                    predicted_us: 900,
                    deadline_us: 500,
                });
            }
            "test/broken" => return Err(Error::ModelFailed(String::from("the plugin failed"))),
            _ => {}
        }
        let outputs = match request.inputs {
            Inputs::Tensors(tensors) => tensors,
            Inputs::Text(_) | Inputs::Image(_) => Vec::new(),
        };
        Ok(InferResponse {
            model: detail.model.clone(),
            outputs,
            timing: Timing {
                queue_ns: 1_500,
                compute_ns: 20_000,
                total_ns: 25_000,
                preemptions: 1,
                parts: 2,
            },
            class: request.class.unwrap_or_default(),
        })
    }

    async fn register(&self, request: RegisterRequest) -> Result<Registered, Error> {
        self.registered.borrow_mut().push(request.clone());
        Ok(Registered {
            model: request.model.unwrap_or(ModelRef::parse("test/new@1.0.0")?),
            plugin: String::from("onnx"),
            state: LifecycleState::Loading,
            already: request.path.ends_with("known"),
        })
    }

    async fn scan(&self) -> Result<ScanReport, Error> {
        Ok(ScanReport {
            registered: vec![ModelRef::parse("test/new@1.0.0")?],
            known: 3,
            failed: vec![(PathBuf::from("/models/bad"), String::from("no manifest"))],
        })
    }

    async fn unregister(&self, model: &ModelRef) -> Result<(), Error> {
        self.model(model).map(drop)
    }

    async fn activate(&self, model: &ModelRef) -> Result<ModelRef, Error> {
        let detail = self.model(model)?;
        if detail.model.id == "test/broken" {
            return Err(Error::Conflict(String::from("the model is not ready")));
        }
        Ok(detail.model.clone())
    }

    fn models(&self) -> Vec<ModelSummary> {
        let summary = |detail: &Arc<ModelDetail>| ModelSummary {
            model: detail.model.clone(),
            state: detail.state,
            active: detail.active,
            plugin: detail.plugin.clone(),
            framework: detail.framework.clone(),
            path: detail.path.clone(),
        };
        self.models.iter().map(summary).collect()
    }

    fn plugins(&self) -> Vec<PluginStatus> {
        vec![PluginStatus {
            id: String::from("onnx"),
            name: String::from("ONNX Runtime"),
            version: String::from("1.0.0"),
            formats: vec![String::from("onnx")],
            source: String::from("built-in"),
        }]
    }

    fn health(&self) -> Health {
        Health {
            status: if self.draining.get() {
                Readiness::Draining
            } else {
                Readiness::Healthy
            },
            version: String::from("0.1.0"),
            uptime_ms: 1234,
            models_ready: self.models.len(),
            models_loading: 0,
        }
    }

    fn stats(&self) -> Stats {
        let class = |class| ClassStats {
            class,
            arrived: 10,
            completed: 6,
            failed: 1,
            rejected: 2,
            cancelled: 1,
            deadline_missed: 1,
            preempted: 3,
            queued: 0,
            latency_buckets_us: vec![(64, 1), (128, 5), (u64::MAX, 1)],
            latency_sum_us: 1_000_000,
        };
        Stats {
            version: String::from("0.1.0"),
            uptime_seconds: 1.5,
            total_requests: 40,
            successful_requests: 24,
            failed_requests: 4,
            avg_response_time_us: 100.5,
            preemption: String::from("lanes"),
            executor: String::from("tokio"),
            classes: Class::ALL.map(class).to_vec(),
            models: vec![ModelStats {
                model: String::from("test/digits@1.0.0"),
                completed: 24,
                failed: 4,
                runs: 20,
                compute_us: 2_000,
                queue_us: 300,
                resident_bytes: 4096,
            }],
            shards: vec![ShardStats {
                shard: 0,
                cpu: 1,
                node: 0,
                backlog_us: 0,
                lanes: vec![String::from("SCHED_IDLE")],
                predictions: 5,
                predictions_accurate: 4,
                predictions_missed: 1,
                predictions_false_alarm: 0,
                pool: PoolStatus {
                    limit_bytes: 1 << 30,
                    reserved_bytes: 1 << 20,
                    in_use_bytes: 0,
                    loans: 7,
                },
            }],
            clients: vec![ClientStats {
                id: 2,
                name: String::from("robot"),
                pid: 4711,
                uid: 1000,
                shard: 0,
                arena_bytes: 64 << 20,
                requests: 9,
                refused: 1,
                failed: 2,
            }],
        }
    }
}

/// tokio's clock, which tests can pause.
#[derive(Clone)]
pub struct Clock(tokio::time::Instant);

impl Timer for Clock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(time)
    }
}

/// tokio's streams as hyper wants them, without unsafe: at the price of a copy.
pub struct Stream<IO>(pub IO, pub Box<[u8]>);

impl<IO: AsyncRead + Unpin> hyper::rt::Read for Stream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self(stream, buffer) = &mut *self;
        let len = buffer.len().min(target.remaining());
        let mut buffer = ReadBuf::new(&mut buffer[..len]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        target.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> hyper::rt::Write for Stream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What a client got.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| {
            line.split_once(':')
                .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        })?;
        Some(line.split_once(':')?.1.trim())
    }
}

/// A client's side of a connection, byte for byte.
pub struct Client {
    pub stream: DuplexStream,
    pub received: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Reply {
        let body = body.as_ref();
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}{length}\r\n"
        ))
        .await;
        self.send(body).await;
        self.reply(method == "HEAD").await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, "", "").await
    }

    pub async fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path, "content-type: application/json\r\n", body)
            .await
    }

    /// The next reply; none at the end of the stream.
    pub async fn reply(&mut self, is_head: bool) -> Option<Reply> {
        let end = loop {
            match self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let mut reply = Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while !is_head && self.received.len() < length {
            assert!(self.more().await, "the body is cut: {reply:?}");
        }
        let length = if is_head { 0 } else { length };
        reply.body = self.received.drain(..length).collect();
        Some(reply)
    }

    /// Reads what comes; false at the end of the stream.
    pub async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

/// A server with one connection.
pub struct Server {
    pub fake: Fake,
    pub edge: Rc<Edge>,
    pub shutdown: Rc<Notify>,
}

impl Server {
    pub fn new(config: Config) -> Self {
        Self {
            fake: Fake::new(),
            edge: Edge::new(config),
            shutdown: Rc::default(),
        }
    }

    /// Opens a connection; the handle ends with it.
    pub fn connect(&self) -> (Client, JoinHandle<Result<(), mlos_http::Error>>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let stream = Stream(far, vec![0; 64 << 10].into());
        let (fake, edge, shutdown) = (
            self.fake.clone(),
            Rc::clone(&self.edge),
            Rc::clone(&self.shutdown),
        );
        let clock = Clock(tokio::time::Instant::now());
        let served = tokio::task::spawn_local(async move {
            serve_connection(
                stream,
                fake,
                clock,
                edge,
                async move { shutdown.notified().await },
            )
            .await
        });
        let client = Client {
            stream: near,
            received: Vec::new(),
        };
        (client, served)
    }
}

/// Runs a test with a server on one thread, its clock paused.
pub fn with_server<F: Future<Output = ()>>(config: Config, test: impl FnOnce(Server) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async { test(Server::new(config)).await });
}

/// The text of `count` numbers, separated by commas.
pub fn numbers(count: usize) -> String {
    let texts: Vec<String> = (0..count).map(|n| format!("{}.5", n % 100)).collect();
    texts.join(",")
}
