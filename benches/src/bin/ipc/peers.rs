//! What a program would use instead: iceoryx2, a Unix socket, or HTTP to the same daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use mlos_benches::client::Request;
use mlos_benches::daemon::Daemon;
use mlos_benches::histogram::Samples;
use mlos_benches::models;

use crate::{Bench, beside_this_program, turn};

/// Request-response of iceoryx2 between two processes that both poll.
pub(crate) fn iceoryx2(bench: &Bench, bytes: usize, time: Duration) -> Result<Samples> {
    let program = beside_this_program("ipc_iceoryx2")?;
    let numbers = [
        bytes,
        usize::try_from(time.as_millis())?,
        bench.setting.server,
        bench.setting.client,
    ];
    let output = Command::new(&program)
        .args(numbers.map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| {
            let program = program.display();
            format!(
                "cannot start {program}; make it with `cargo build -p mlos-benches --features iceoryx2 --bin ipc_iceoryx2`"
            )
        })?;
    if !output.status.success() {
        bail!("{} ended with {}", program.display(), output.status);
    }
    let mut samples = Samples::default();
    for ns in output.stdout.as_chunks().0 {
        samples.push(Duration::from_nanos(u64::from_le_bytes(*ns)));
    }
    Ok(samples)
}

/// Bytes to another thread over a Unix socket, and back.
pub(crate) fn unix_echo(bench: &Bench, bytes: usize, time: Duration) -> Result<Samples> {
    let (client, server) = UnixStream::pair()?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(CoreId {
                id: bench.setting.server,
            });
            let mut buffer = vec![0; bytes];
            while (&server).read_exact(&mut buffer).is_ok() && (&server).write_all(&buffer).is_ok() {}
        });
        let samples = bench.as_client(|| {
            let (sent, mut received) = (vec![1; bytes], vec![0; bytes]);
            turn(time, |_| {
                (&client).write_all(&sent)?;
                (&client).read_exact(&mut received)?;
                std::hint::black_box((received.first(), received.last()));
                Ok(())
            })
        });
        client.shutdown(Shutdown::Both)?;
        samples
    })
}

/// The model over HTTP: the input as bytes, the output as JSON, as there is no other. Its length is not that of the
/// tensor: a float takes two bytes here, as all are 0, and more otherwise.
pub(crate) fn http(
    bench: &Bench,
    daemon: &Daemon,
    model: &str,
    bytes: usize,
    time: Duration,
) -> Result<Samples> {
    let shape = (bytes / size_of::<f32>()).to_string();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("x-mlos-input", "x"),
        ("x-mlos-shape", &shape),
    ];
    let request = Request::post(&models::inference(model), &headers, &vec![0; bytes]);
    bench.as_client(|| {
        let mut connection = daemon.connect()?;
        turn(time, |_| {
            let answer = connection.call(&request)?.success()?;
            std::hint::black_box((answer.body.first(), answer.body.last()));
            Ok(())
        })
    })
}
