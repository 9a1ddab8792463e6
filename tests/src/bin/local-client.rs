//! A client of the local edge as a process of its own: to be killed, to be somebody else, or to write nonsense.
//!
//! `local-client SOCKET MODEL ask` asks until it is killed. `… once` asks once and says `answered`. `… scribble SEED`
//! asks, and writes at random over all that it shares with the daemon. Errors end it with code 1 and their text.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "it is part of the tests")]

use std::fs::File;
use std::io::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use mlos_shm::control::TensorInfo;
use mlos_shm::{Request, Status};
use mlos_tests::{Asking, Bound, Local, given};
use mlos_zoo::{Input, Prng};

/// Bindings, each asked while the others are.
const BINDINGS: u32 = 4;
/// For an output.
const ROOM: usize = 16 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        [path, model, "ask"] => ask(path, model, None),
        [path, model, "once"] => ask(path, model, Some(1)).inspect(|()| println!("answered")),
        [path, model, "scribble", seed] => scribble(path, model, seed.parse().unwrap()),
        _ => Err(Error::other("local-client SOCKET MODEL ask|once|scribble [SEED]")),
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Joins, opens the model, and binds it a few times.
fn bound(path: &str, model: &str) -> Result<(Local, Vec<Bound>), Error> {
    let other = |(_, text): (Status, String)| Error::other(text);
    let mut local = Local::try_join(Path::new(path), 0, 1 << 20).map_err(Error::other)?;
    let opened = local.try_open(model).map_err(other)?;
    let inputs: Vec<Input> = opened.inputs.iter().map(input).collect();
    let room = vec![ROOM; opened.outputs.len()];
    let bind = |number| local.try_bind(number, &opened, &inputs, &room).map_err(other);
    let bounds = (0..BINDINGS).map(bind).collect::<Result<_, _>>()?;
    Ok((local, bounds))
}

/// Small numbers of the input's type, in its shape, with two where any number will do.
fn input(info: &TensorInfo) -> Input {
    let dims = info.dims.iter().map(|dim| dim.map_or(2, |dim| dim as usize));
    let shape: Vec<usize> = dims.collect();
    match mlos_shm::DType::ALL[usize::from(info.dtype)] {
        mlos_shm::DType::I64 => Input::i64(&info.name, &shape, |index| index as i64 % 8),
        _ => given(&shape, &[0.5, -1.0]),
    }
}

fn ask(path: &str, model: &str, rounds: Option<usize>) -> Result<(), Error> {
    let (mut local, bounds) = bound(path, model)?;
    let mut round = 0;
    while rounds.is_none_or(|rounds| round < rounds) {
        let ids: Vec<u64> = bounds
            .iter()
            .map(|bound| local.ask(bound.number, Asking::default()))
            .collect();
        for id in ids {
            let response = local.wait(id).map_err(Error::other)?;
            if response.status != Status::Ok {
                return Err(Error::other(format!("{:?}", response.status)));
            }
        }
        round += 1;
    }
    Ok(())
}

/// Again and again, since the daemon lets such a client go.
fn scribble(path: &str, model: &str, seed: u64) -> Result<(), Error> {
    let mut random = Prng::new(seed, 0);
    loop {
        let (mut local, bounds) = bound(path, model)?;
        let segment = local.side.arena.segment().clone();
        let rings = rings_of_this_process(&local)?;
        let arena = File::from(segment.as_fd().try_clone_to_owned()?);
        let sizes = [rings.metadata()?.len(), arena.metadata()?.len()];
        for _ in 0..1 + random.below(400) {
            for _ in 0..random.below(4) {
                let request = request(&mut random, &bounds);
                let _ = local.side.requests.push(request);
            }
            let _ = local.side.bell.ring();
            for _ in 0..random.below(16) {
                // Most of it where something lies that is read.
                let bound = &bounds[random.below(bounds.len() as u64) as usize];
                let input = &bound.inputs[random.below(bound.inputs.len() as u64) as usize];
                let (file, start, len) = match random.below(40) {
                    0 => (&rings, 0, sizes[0]),
                    1..8 => (&arena, 0, sizes[1]),
                    8..24 => (&arena, bound.frame.offset(), bound.frame.bytes().into()),
                    _ => (&arena, input.offset(), (input.len() as u64).max(8)),
                };
                let word = random.bits() >> random.below(64);
                let _ = file.write_all_at(&word.to_ne_bytes(), start + random.below(len / 8) * 8);
            }
            if random.below(4) == 0 {
                while let Ok(Some(_)) = local.side.responses.pop() {}
            }
        }
        // Sometimes the daemon has found it out by now, and sometimes it is only the end.
        let _ = local.next(Duration::from_millis(random.below(3)));
    }
}

/// What is almost right, and what is not at all.
fn request(random: &mut Prng, bounds: &[Bound]) -> Request {
    let bound = &bounds[random.below(bounds.len() as u64) as usize];
    let (id, number) = (random.below(64), bound.number);
    let (offset, bytes) = (bound.frame.offset(), bound.frame.bytes());
    match random.below(10) {
        0 => Request::bind(id, number, bound.frame.handle, offset, bytes),
        1 => Request::bind(
            id,
            random.bits() as u32,
            random.bits() as u32,
            random.bits(),
            random.bits() as u32,
        ),
        2 => Request::unbind(id, number),
        3 => Request::cancel(id),
        4 => Request {
            class: random.bits() as u8,
            on_miss: random.bits() as u8,
            deadline_us: random.bits() >> random.below(64),
            ..Request::infer(id, number)
        },
        _ => Request::infer(id, number),
    }
}

/// The rings' memory file. The library has mapped it and closed it, so it is found again among the mappings.
fn rings_of_this_process(local: &Local) -> Result<File, Error> {
    let arena: OwnedFd = local.side.arena.segment().as_fd().try_clone_to_owned()?;
    let arena = std::os::unix::fs::MetadataExt::ino(&File::from(arena).metadata()?);
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let Ok(target) = std::fs::read_link(&path) else {
            continue;
        };
        if !target.to_string_lossy().contains("memfd:mlos") {
            continue;
        }
        let file = File::options().read(true).write(true).open(&path)?;
        if std::os::unix::fs::MetadataExt::ino(&file.metadata()?) != arena {
            return Ok(file);
        }
    }
    Err(Error::other("the rings are not among the open files"))
}
