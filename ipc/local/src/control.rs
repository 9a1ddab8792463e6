//! The control thread: who connects, what each is given, and when it is gone.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use mlos_api::ClientStats;
use mlos_shm::control::{
    ClientMessage, ControlMessage, DaemonMessage, DaemonSide, Hello, Open, Refused, Welcome, socket,
};
use mlos_shm::{Status, limits as protocol};
use mlos_tensor_mem::SegmentOptions;
use rustix::event::epoll;
use tracing::{debug, info, warn};

use crate::limits::{EVENTS_MAX, GREETING_TIME, ORDERS_PER_CLIENT_MAX};
use crate::stats::ClientCounters;
use crate::{Config, Error};

/// What the control thread tells a core.
pub(crate) enum Order {
    /// Serve this client.
    Join(Box<Joining>),
    /// It opens a model; the answer goes to its socket.
    Open { client: u64, open: Open },
    /// It gives a model back.
    Close { client: u64, handle: u32 },
    /// It is gone.
    Gone { client: u64 },
}

/// A client on its way to its core.
pub(crate) struct Joining {
    pub(crate) client: u64,
    pub(crate) side: DaemonSide,
    pub(crate) socket: Arc<OwnedFd>,
    pub(crate) counters: Arc<ClientCounters>,
}

/// What one core is told, to be [served](crate::serve()).
#[derive(Clone)]
pub struct Orders(pub(crate) Receiver<Order>);

/// Where the control thread tells the cores.
pub struct Places(Vec<Sender<Order>>);

/// A channel to each of so many cores.
#[must_use]
pub fn orders(cores: usize) -> (Places, Vec<Orders>) {
    // Bounded by what each client may have on its way, so that none can fill it for the others.
    let channels = (0..cores).map(|_| async_channel::unbounded());
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
    (Places(senders), receivers.into_iter().map(Orders).collect())
}

/// The thread that listens. Dropping it ends it; the cores then finish what is in flight, and let their clients go.
pub struct Control {
    path: PathBuf,
    /// What lies at the path if it is ours.
    file: Option<FileId>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
    clients: Clients,
}

/// The clients that are connected, for whoever looks.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<Vec<Known>>>);

/// One of them.
struct Known {
    stats: ClientStats,
    counters: Arc<ClientCounters>,
}

impl Control {
    /// Listens at the configured path. A socket that a daemon left behind is taken over.
    ///
    /// # Errors
    /// Where another daemon listens, or nobody can.
    pub fn start(config: &Config, places: Places, version: &str) -> Result<Self, Error> {
        let path = config.path.clone();
        let failed = |reason: String| Error::Listen {
            path: path.clone(),
            reason,
        };
        let listener = listen(&config.path)?;
        let file = FileId::at(&config.path);
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let stop = rustix::event::eventfd(0, flags).map_err(|errno| failed(errno.to_string()))?;
        let stopped = stop.try_clone().map_err(|error| failed(error.to_string()))?;
        let clients = Clients::default();
        let desk = Desk::new(
            config.clone(),
            listener,
            stopped,
            places,
            version.to_owned(),
            clients.clone(),
        );
        let desk = desk.map_err(|errno| failed(errno.to_string()))?;
        let thread = std::thread::Builder::new()
            .name("mlos-local".to_owned())
            .spawn(move || desk.run())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            path: config.path.clone(),
            file,
            stop,
            thread: Some(thread),
            clients,
        })
    }

    /// The clients that are connected.
    #[must_use]
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }
}

impl Clients {
    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of now.
    #[must_use]
    pub fn stats(&self) -> Vec<ClientStats> {
        let with_counts = |known: &Known| {
            let (requests, refused, failed) = known.counters.read();
            ClientStats {
                requests,
                refused,
                failed,
                ..known.stats.clone()
            }
        };
        self.known().iter().map(with_counts).collect()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Who has moved it aside may have put another's there.
        if self.file.is_some() && FileId::at(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which file it is, whatever its name.
#[derive(PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn at(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |reason: String| Error::Listen {
        path: path.to_owned(),
        reason,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Error::NoSocket(path.to_owned())),
        Ok(_) if socket::connect(path).is_ok() => return Err(Error::InUse(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(|error| failed(error.to_string()))?,
        Err(_) => {}
    }
    let listener = socket::listen(path).map_err(|error| failed(error.to_string()))?;
    // Who may use it is said by a message that tells why, not by the file's mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(|error| failed(error.to_string()))?;
    Ok(listener)
}

/// The thread's own.
struct Desk {
    config: Config,
    version: String,
    listener: OwnedFd,
    /// Registered with `epoll`, so it must stay open.
    _stop: OwnedFd,
    epoll: OwnedFd,
    places: Places,
    /// Clients by core.
    loads: Vec<usize>,
    guests: HashMap<u64, Guest>,
    next: u64,
    arenas_bytes: u64,
    clients: Clients,
}

/// One connection.
struct Guest {
    socket: Arc<OwnedFd>,
    peer: socket::Peer,
    since: Instant,
    /// Once it was welcomed.
    home: Option<Home>,
}

/// What a client was given.
#[derive(Clone)]
struct Home {
    shard: usize,
    arena_bytes: u64,
    counters: Arc<ClientCounters>,
}

const LISTENER: u64 = 0;
const STOP: u64 = 1;
const FIRST_GUEST: u64 = 2;

impl Desk {
    fn new(
        config: Config,
        listener: OwnedFd,
        stop: OwnedFd,
        places: Places,
        version: String,
        clients: Clients,
    ) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (fd, data) in [(&listener, LISTENER), (&stop, STOP)] {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            loads: vec![0; places.0.len()],
            config,
            version,
            listener,
            _stop: stop,
            epoll,
            places,
            guests: HashMap::new(),
            next: FIRST_GUEST,
            arenas_bytes: 0,
            clients,
        })
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            let patience = self
                .guests
                .values()
                .any(|guest| guest.home.is_none())
                .then_some(GREETING_TIME);
            let patience = patience.and_then(|patience| patience.try_into().ok());
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                patience.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(reason) => {
                    warn!(%reason, "local clients are not served any more");
                    break;
                }
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    STOP => return,
                    guest => self.hear(guest),
                }
            }
            self.dismiss_silent();
        }
    }

    fn accept(&mut self) {
        loop {
            let socket = match socket::accept(&self.listener) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(reason) => {
                    // Out of descriptors, most likely: those who wait are heard when some are free.
                    warn!(%reason, "cannot accept a local client");
                    return std::thread::park_timeout(Duration::from_millis(50));
                }
            };
            match self.admit(&socket) {
                Ok(peer) => self.greet(socket, peer),
                Err((status, text)) => {
                    info!(reason = text, "a local client was refused");
                    refuse(&socket, 0, status, text);
                }
            }
        }
    }

    fn admit(&self, socket: &OwnedFd) -> Result<socket::Peer, (Status, String)> {
        let peer = socket::peer(socket).map_err(|error| (Status::Internal, error.to_string()))?;
        let own = rustix::process::geteuid().as_raw();
        if peer.uid != own && peer.uid != 0 && !self.config.users.contains(&peer.uid) {
            let text = format!(
                "user {} may not use this daemon, which runs as user {own}; its setting local.users admits others",
                peer.uid
            );
            return Err((Status::Unsupported, text));
        }
        if self.guests.len() >= self.config.limits.clients_max {
            let text = format!("{} clients are connected, which is the limit", self.guests.len());
            return Err((Status::Overloaded, text));
        }
        Ok(peer)
    }

    fn greet(&mut self, socket: OwnedFd, peer: socket::Peer) {
        let guest = self.next;
        self.next += 1;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        if let Err(reason) = epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(guest), interest) {
            return warn!(%reason, "cannot listen to a local client");
        }
        let since = Instant::now();
        self.guests.insert(
            guest,
            Guest {
                socket: Arc::new(socket),
                peer,
                since,
                home: None,
            },
        );
    }

    /// Takes one packet of a client. More of them come with the next look, so that nobody can keep the others waiting.
    fn hear(&mut self, id: u64) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (socket, home) = (guest.socket.clone(), guest.home.clone());
        let message = match socket::receive(&*socket) {
            Ok(socket::Received::Nothing) => return,
            Ok(socket::Received::Closed) => return self.dismiss(id),
            Ok(socket::Received::Packet(packet)) => ClientMessage::decode(&packet.bytes, packet.fds.len()),
            Err(error) => Err(error),
        };
        let outcome = match (message, home) {
            (Ok(ClientMessage::Hello(hello)), None) => self.welcome(id, &hello),
            (Ok(ClientMessage::Open(open)), Some(home)) => {
                self.pass_on(&home, Order::Open { client: id, open })
            }
            (Ok(ClientMessage::Close(close)), Some(home)) => self.pass_on(
                &home,
                Order::Close {
                    client: id,
                    handle: close.handle,
                },
            ),
            (Ok(other), _) => Err((
                Status::InvalidArgument,
                format!("'{}' is out of turn", other.name()),
            )),
            (Err(error), _) => Err((error.kind(), error.to_string())),
        };
        if let Err((status, text)) = outcome {
            info!(client = id, reason = text, "a local client is let go");
            refuse(&*socket, 0, status, text);
            self.dismiss(id);
        }
    }

    fn welcome(&mut self, id: u64, hello: &Hello) -> Result<(), (Status, String)> {
        let limits = &self.config.limits;
        let slots = if hello.slots == 0 {
            protocol::SLOTS_DEFAULT
        } else {
            hello.slots
        };
        let slots = slots.min(limits.slots_max);
        let wanted = if hello.arena_bytes == 0 {
            protocol::ARENA_BYTES_DEFAULT
        } else {
            hello.arena_bytes
        };
        if wanted > limits.arena_bytes_max {
            let text = format!(
                "an arena of {wanted} bytes is asked for; a client may have {}",
                limits.arena_bytes_max
            );
            return Err((Status::TooLarge, text));
        }
        if self.arenas_bytes + wanted > limits.arenas_bytes_max {
            let text = format!(
                "an arena of {wanted} bytes is asked for; {} of {} for all clients are taken",
                self.arenas_bytes, limits.arenas_bytes_max
            );
            return Err((Status::Overloaded, text));
        }
        let shard = (0..self.loads.len())
            .min_by_key(|shard| self.loads[*shard])
            .unwrap_or(0);
        let internal = |error: mlos_shm::Error| (error.kind(), error.to_string());
        let (side, handout) =
            DaemonSide::create(slots, wanted, &SegmentOptions::default()).map_err(internal)?;
        let arena_bytes = side.arena.len() as u64;
        let welcome = DaemonMessage::Welcome(Welcome {
            features: 0,
            slots,
            arena_bytes,
            bindings_max: protocol::BINDINGS_MAX,
            shard: shard as u32,
            daemon: self.version.clone(),
        });
        let guest = self.guests.get_mut(&id).expect("it was just heard");
        let packet = welcome.encode().map_err(internal)?;
        let (socket, counters) = (guest.socket.clone(), Arc::<ClientCounters>::default());
        guest.home = Some(Home {
            shard,
            arena_bytes,
            counters: counters.clone(),
        });
        let peer = guest.peer;
        self.arenas_bytes += arena_bytes;
        self.loads[shard] += 1;
        self.tell(
            shard,
            Order::Join(Box::new(Joining {
                client: id,
                side,
                socket: socket.clone(),
                counters: counters.clone(),
            })),
        )?;
        let stats = ClientStats {
            id,
            name: hello.name.clone(),
            pid: peer.pid,
            uid: peer.uid,
            shard,
            arena_bytes,
            requests: 0,
            refused: 0,
            failed: 0,
        };
        debug!(
            client = id,
            name = stats.name,
            pid = stats.pid,
            shard,
            "a local client is served"
        );
        self.clients.known().push(Known { stats, counters });
        socket::send(&*socket, &packet, &handout.fds()).map_err(internal)?;
        Ok(())
    }

    /// Tells a core what a client says to it. One that does not wait for answers is not waited for either.
    fn pass_on(&self, home: &Home, order: Order) -> Result<(), (Status, String)> {
        if home.counters.orders.fetch_add(1, Relaxed) >= ORDERS_PER_CLIENT_MAX {
            let text =
                format!("{ORDERS_PER_CLIENT_MAX} questions wait for an answer already, which is the limit");
            return Err((Status::Overloaded, text));
        }
        self.tell(home.shard, order)
    }

    fn tell(&self, shard: usize, order: Order) -> Result<(), (Status, String)> {
        self.places.0[shard].try_send(order).map_err(|_| {
            let text = "the core that serves it has ended".to_owned();
            (Status::Unavailable, text)
        })
    }

    fn dismiss_silent(&mut self) {
        let late = |guest: &Guest| guest.home.is_none() && guest.since.elapsed() >= GREETING_TIME;
        let late: Vec<u64> = self
            .guests
            .iter()
            .filter(|(_, guest)| late(guest))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let text = format!("it did not greet within {} s", GREETING_TIME.as_secs());
            if let Some(guest) = self.guests.get(&id) {
                refuse(&*guest.socket, 0, Status::DeadlineMiss, text);
            }
            self.dismiss(id);
        }
    }

    fn dismiss(&mut self, id: u64) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        let _ = epoll::delete(&self.epoll, guest.socket.as_fd());
        let _ = rustix::net::shutdown(&*guest.socket, rustix::net::Shutdown::Both);
        let Some(home) = guest.home else { return };
        self.arenas_bytes -= home.arena_bytes;
        self.loads[home.shard] -= 1;
        self.clients.known().retain(|known| known.stats.id != id);
        // Word of an end must arrive, unless its core is gone altogether.
        let _ = self.tell(home.shard, Order::Gone { client: id });
    }
}

/// Says no. A client that does not read is not waited for.
pub(crate) fn refuse(socket: impl AsFd, token: u32, status: Status, text: String) {
    let refused = DaemonMessage::Refused(Refused {
        token,
        status: status as u16,
        text,
    });
    if let Ok(packet) = refused.encode() {
        let _ = socket::send(socket, &packet, &[]);
    }
}
