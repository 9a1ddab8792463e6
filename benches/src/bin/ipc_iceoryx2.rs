//! `ipc_iceoryx2 BYTES MILLISECONDS SERVER_CPU CLIENT_CPU`: round trips of iceoryx2's request-response between two
//! processes that poll, as nanoseconds in eight bytes each on standard output. `ipc` runs it in turn with the others.
//!
//! It is a program of its own as it is the only one that needs that library, and unsafe code: a loan of 16 MiB must be
//! sent without being written all over, as that is the point of it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use iceoryx2::port::client::Client;
use iceoryx2::prelude::*;

/// Round trips before the clock starts.
const WARMING: usize = 1000;
/// The first byte of the request after which the server ends.
const END: u8 = u8::MAX;
/// How long to wait for an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(10);

type Factory<const N: usize> =
    iceoryx2::service::port_factory::request_response::PortFactory<ipc::Service, [u8; N], (), [u8; N], ()>;

fn main() -> Result<()> {
    set_log_level(LogLevel::Error);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--serve", name, bytes, cpu] => by_size(
            bytes,
            Serve {
                name,
                cpu: cpu.parse()?,
            },
        ),
        [bytes, time_ms, server, client] => {
            let name = format!("mlos-ipc-{}", std::process::id());
            let child = Server::start(&name, bytes, server)?;
            core_affinity::set_for_current(CoreId { id: client.parse()? });
            let time = Duration::from_millis(time_ms.parse()?);
            by_size(bytes, Ask { name: &name, time })?;
            child.end()
        }
        _ => bail!("usage: ipc_iceoryx2 BYTES MILLISECONDS SERVER_CPU CLIENT_CPU"),
    }
}

/// The sizes that there are: payloads of a fixed size are what the library is quickest with.
fn by_size(bytes: &str, role: impl Role) -> Result<()> {
    match bytes.parse()? {
        64 => role.run::<64>(),
        4_096 => role.run::<4_096>(),
        614_400 => role.run::<614_400>(),
        16_777_216 => role.run::<16_777_216>(),
        other => bail!("no payload of {other} bytes"),
    }
}

trait Role {
    fn run<const N: usize>(self) -> Result<()>;
}

struct Serve<'a> {
    name: &'a str,
    cpu: usize,
}

struct Ask<'a> {
    name: &'a str,
    time: Duration,
}

fn service<const N: usize>(name: &str) -> Result<Factory<N>> {
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let name: ServiceName = name.try_into()?;
    let builder = node.service_builder(&name).request_response::<[u8; N], [u8; N]>();
    Ok(builder.max_clients(1).max_servers(1).open_or_create()?)
}

impl Role for Serve<'_> {
    fn run<const N: usize>(self) -> Result<()> {
        core_affinity::set_for_current(CoreId { id: self.cpu });
        let service = service::<N>(self.name)?;
        let server = service.server_builder().create()?;
        println!("ready");
        loop {
            let Some(request) = server.receive()? else {
                std::hint::spin_loop();
                continue;
            };
            let response = request.loan_uninit()?;
            // SAFETY: any bytes are values of the payload, and shared memory that nobody wrote is zeros.
            let response = unsafe { response.assume_init() };
            let is_last = request.payload()[0] == END;
            response.send()?;
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Role for Ask<'_> {
    fn run<const N: usize>(self) -> Result<()> {
        let service = service::<N>(self.name)?;
        let client = service.client_builder().create()?;
        let mut samples: Vec<u64> = Vec::with_capacity(1 << 22);
        for _ in 0..WARMING {
            round_trip(&client, 1)?;
        }
        let begun = Instant::now();
        while begun.elapsed() < self.time {
            for _ in 0..64 {
                let sent = Instant::now();
                round_trip(&client, 2)?;
                samples.push(sent.elapsed().as_nanos() as u64);
            }
        }
        round_trip(&client, END)?;
        let bytes: Vec<u8> = samples.iter().flat_map(|ns| ns.to_le_bytes()).collect();
        Ok(std::io::stdout().write_all(&bytes)?)
    }
}

/// Loans a request, writes its first and last byte, sends it, and reads the first and last byte of the response.
#[inline]
fn round_trip<const N: usize>(
    client: &Client<ipc::Service, [u8; N], (), [u8; N], ()>,
    byte: u8,
) -> Result<u8> {
    let request = client.loan_uninit()?;
    // SAFETY: as in the server.
    let mut request = unsafe { request.assume_init() };
    let payload = request.payload_mut();
    (payload[0], payload[N - 1]) = (byte, byte);
    let pending = request.send()?;
    let mut begun = None;
    loop {
        for _ in 0..1 << 16 {
            if let Some(response) = pending.receive()? {
                let payload = response.payload();
                return Ok(std::hint::black_box(payload[0]) ^ std::hint::black_box(payload[N - 1]));
            }
            std::hint::spin_loop();
        }
        if begun.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            bail!("no answer for {PATIENCE:?}");
        }
    }
}

/// The other process. It ends when it is told to, or with the value.
struct Server(Child);

impl Server {
    fn start(name: &str, bytes: &str, cpu: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", name, bytes, cpu])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let output = child.stdout.take().context("its output is piped")?;
        let server = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line != "ready\n" {
            bail!("the server did not start");
        }
        Ok(server)
    }

    fn end(mut self) -> Result<()> {
        let status = self.0.wait()?;
        if status.success() {
            return Ok(());
        }
        bail!("the server ended with {status}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
