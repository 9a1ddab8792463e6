//! A core: a thread with an executor, which serves an engine to whoever connects.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mlos_local::{Config, Control, Limits};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tempfile::TempDir;

use crate::engine::{Engine, Seen};

/// What a core that polls is told, and when it looks. Time goes on by a tick whenever it is asked for.
#[derive(Default)]
pub struct Watch {
    pub has_news: bool,
    pub is_heard: bool,
    /// When it has looked, in ticks.
    pub looks: Mutex<Vec<u64>>,
    pub ticks: AtomicU64,
}

pub const TICK_NS: u64 = 10_000;

#[derive(Clone)]
struct Host(Arc<Watch>);

impl mlos_local::Host for Host {
    type Bell = OwnedFd;

    fn bell(&self, counter: OwnedFd) -> OwnedFd {
        counter
    }

    async fn rung(&self, bell: &OwnedFd) -> io::Result<()> {
        loop {
            let mut polled = [PollFd::new(bell, PollFlags::IN)];
            if poll(&mut polled, Some(&Timespec::default()))? > 0 {
                // Readable, and nobody else reads it.
                return Ok(rustix::io::read(bell, &mut [0; 8]).map(drop)?);
            }
            tokio::task::yield_now().await;
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(future);
    }

    async fn look(&self) {
        self.0.looks.lock().unwrap().push(self.0.ticks.load(SeqCst));
        tokio::task::yield_now().await;
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn is_core_shared(&self) -> bool {
        false
    }

    fn has_news(&self, _: u64) -> bool {
        self.0.has_news
    }

    fn announce(&self, _: impl Fn() -> bool + 'static) {}

    fn heard_ns(&self) -> u64 {
        u64::from(self.0.is_heard) * self.0.ticks.load(SeqCst) * TICK_NS
    }

    fn now_ns(&self) -> u64 {
        (self.0.ticks.fetch_add(1, SeqCst) + 1) * TICK_NS
    }
}

/// The edge on one core. Ends with the value: when its clients' requests have.
pub struct Edge {
    pub path: PathBuf,
    pub seen: Arc<Seen>,
    control: Option<Control>,
    core: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Edge {
    pub fn start(limits: Limits) -> Self {
        Self::serve(limits, Duration::ZERO, Arc::default())
    }

    /// One that polls the rings for a thousand seconds, of its own time, after the last request.
    pub fn polling(watch: Arc<Watch>) -> Self {
        Self::serve(Limits::default(), Duration::from_secs(1000), watch)
    }

    fn serve(limits: Limits, poll: Duration, watch: Arc<Watch>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: folder.path().join("mlosd.sock"),
            poll,
            users: Vec::new(),
            limits,
        };
        let (places, mut orders) = mlos_local::orders(1);
        let control = Control::start(&config, places, "0").unwrap();
        let (path, seen) = (config.path.clone(), Arc::<Seen>::default());
        let (engine, orders) = (seen.clone(), orders.remove(0));
        let core = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let serving =
                async move { mlos_local::serve(Engine::new(engine), Host(watch), config, orders).await };
            tokio::task::LocalSet::new().block_on(&runtime, serving);
        });
        Self {
            path,
            seen,
            control: Some(control),
            core: Some(core),
            _folder: folder,
        }
    }

    /// Who is connected, as `/stats` shows it.
    pub fn clients(&self) -> usize {
        let control = self.control.as_ref().unwrap();
        control.clients().stats().len()
    }

    /// As at the end of a daemon: nobody is heard any more, what runs is finished.
    pub fn stop(&mut self) {
        drop(self.control.take());
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
        let ended = self.core.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok(), "the core has panicked");
    }
}
