//! The servers: two listeners, a thread per connection.

use std::{
    collections::HashMap,
    io::{self, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::Duration,
};

use crate::{
    fault::{Fault, FaultKind},
    http::{self, Response, Sink},
    limits,
    record::{Recorded, Side},
    repo::Repos,
    routes,
};

/// What can be chosen before the hub starts.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Port of the hub itself; 0 takes a free one.
    pub port: u16,
    /// Port of the content network; 0 takes a free one.
    pub cdn_port: u16,
    /// Entries in one page of a file listing.
    pub tree_page_entries: usize,
    /// Small files answer with a relative redirect first, as the real hub does for cached ones.
    pub resolve_cache: bool,
}

impl Default for HubOptions {
    fn default() -> HubOptions {
        HubOptions {
            port: 0,
            cdn_port: 0,
            tree_page_entries: limits::TREE_PAGE_ENTRIES,
            resolve_cache: false,
        }
    }
}

/// A running hub; it stops when dropped.
pub struct Hub {
    state: Arc<State>,
    addresses: [SocketAddr; 2],
}

/// What the connection threads share.
pub(crate) struct State {
    pub(crate) repos: Repos,
    pub(crate) options: HubOptions,
    pub(crate) endpoint: String,
    pub(crate) cdn_endpoint: String,
    faults: Mutex<Vec<Fault>>,
    gates: Mutex<HashMap<String, String>>,
    requests: Mutex<Vec<Recorded>>,
    bytes_sent: Mutex<u64>,
    bytes_moved: Condvar,
    stopping: AtomicBool,
}

impl Hub {
    /// Serves the directory on free ports of loopback.
    pub fn start(root: &Path) -> io::Result<Hub> {
        Hub::start_with(root, HubOptions::default())
    }

    /// Serves the directory.
    pub fn start_with(root: &Path, options: HubOptions) -> io::Result<Hub> {
        let hub = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        // Another address, not only another port: clients that compare hosts must see two.
        let cdn = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), options.cdn_port))?;
        let addresses = [hub.local_addr()?, cdn.local_addr()?];
        let state = Arc::new(State {
            repos: Repos::new(root.to_owned()),
            options,
            endpoint: format!("http://{}", addresses[0]),
            cdn_endpoint: format!("http://{}", addresses[1]),
            faults: Mutex::default(),
            gates: Mutex::default(),
            requests: Mutex::default(),
            bytes_sent: Mutex::new(0),
            bytes_moved: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        for (listener, side) in [(hub, Side::Hub), (cdn, Side::Cdn)] {
            let state = state.clone();
            thread::spawn(move || accept(&state, &listener, side));
        }
        Ok(Hub { state, addresses })
    }

    /// Base URL: what `HF_ENDPOINT` is set to.
    pub fn endpoint(&self) -> &str {
        &self.state.endpoint
    }

    /// Base URL of the content network.
    pub fn cdn_endpoint(&self) -> &str {
        &self.state.cdn_endpoint
    }

    /// Adds a fault; the first one that matches a request and is not spent hits it.
    pub fn inject(&self, fault: Fault) {
        self.state.faults.lock().expect("no panic while held").push(fault);
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        self.state.faults.lock().expect("no panic while held").clear();
    }

    /// Asks for this token before any file of the repository is served.
    pub fn gate(&self, repo: &str, token: &str) {
        self.state
            .gates
            .lock()
            .expect("no panic while held")
            .insert(repo.to_owned(), token.to_owned());
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.requests.lock().expect("no panic while held").clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.state.requests.lock().expect("no panic while held").clear();
    }

    /// Bytes of files sent so far.
    pub fn bytes_sent(&self) -> u64 {
        *self.state.bytes_sent.lock().expect("no panic while held")
    }

    /// Waits until so many bytes of files have been sent in all; `false` if that did not happen in time.
    pub fn wait_for_bytes_sent(&self, bytes: u64, timeout: Duration) -> bool {
        let sent = self.state.bytes_sent.lock().expect("no panic while held");
        let waited = self
            .state
            .bytes_moved
            .wait_timeout_while(sent, timeout, |sent| *sent < bytes);
        *waited.expect("no panic while held").0 >= bytes
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::Relaxed);
        for address in self.addresses {
            // Wakes the accept call, which then sees the flag; if it cannot connect, the listener is gone already.
            let _ = TcpStream::connect(address);
        }
    }
}

impl State {
    pub(crate) fn is_gated(&self, repo: &str) -> bool {
        self.gates.lock().expect("no panic while held").contains_key(repo)
    }

    /// Why this request may not have files of the repository.
    pub(crate) fn refusal(&self, repo: &str, request: &Recorded) -> Option<Response> {
        let gates = self.gates.lock().expect("no panic while held");
        let token = gates.get(repo)?;
        match request.header("authorization") {
            Some(value) if value == format!("Bearer {token}") => None,
            Some(_) => Some(Response::error(
                403,
                "GatedRepo",
                "access to this model is restricted",
            )),
            None => Some(Response::error(
                401,
                "GatedRepo",
                "access to this model is restricted",
            )),
        }
    }

    fn take_fault(&self, request: &Recorded) -> Option<FaultKind> {
        let mut faults = self.faults.lock().expect("no panic while held");
        let fault = faults
            .iter_mut()
            .find(|fault| fault.times > 0 && request.path.contains(&fault.path_contains))?;
        if fault.times != u32::MAX {
            fault.times -= 1;
        }
        Some(fault.kind.clone())
    }

    fn count_sent(&self, bytes: u64) {
        *self.bytes_sent.lock().expect("no panic while held") += bytes;
        self.bytes_moved.notify_all();
    }
}

fn accept(state: &Arc<State>, listener: &TcpListener, side: Side) {
    for stream in listener.incoming() {
        if state.stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let state = state.clone();
        // A client that goes away in the middle is an ordinary end here: faults and kills provoke it.
        thread::spawn(move || serve(&state, stream, side));
    }
}

fn serve(state: &State, mut stream: TcpStream, side: Side) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limits::CONNECTION_IDLE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = http::read_request(&mut reader, side)? {
        state
            .requests
            .lock()
            .expect("no panic while held")
            .push(request.clone());
        let fault = state.take_fault(&request);
        let response = routes::answer(state, &request, fault.as_ref());
        let mut sink = Sink {
            stream: &mut stream,
            sent: &|bytes| state.count_sent(bytes),
        };
        if !http::send(&mut sink, &request, response, fault.as_ref())? {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}
