//! Segments as another process sees them.
#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers, where a panic is the message"
)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use mlos_tensor_mem::{Binding, DType, Error, Pages, Pool, PoolConfig, Segment, SegmentOptions, Shape};

fn segment(len: usize) -> Segment {
    Segment::create(len, &SegmentOptions::default()).unwrap()
}

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.as_fd().try_clone_to_owned().unwrap()
}

fn read_at(fd: OwnedFd, offset: usize, len: usize) -> Vec<u8> {
    let mut file = File::from(fd);
    let mut bytes = vec![0; len];
    file.seek(SeekFrom::Start(offset as u64)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn nobody_can_resize_it() {
    let segment = segment(3 * 4096 + 1);
    assert_eq!(segment.len(), 4 * 4096, "whole pages");
    let file = File::from(duplicate(&segment));
    for len in [0, 4096, 5 * 4096] {
        assert_eq!(
            file.set_len(len).unwrap_err().kind(),
            std::io::ErrorKind::PermissionDenied
        );
    }
    assert_eq!(file.metadata().unwrap().len(), 4 * 4096);
}

#[test]
fn a_peer_sees_what_is_written() {
    let ours = segment(8192);
    let theirs = Segment::from_fd(duplicate(&ours), 8192).unwrap();
    assert_ne!(ours.id(), theirs.id());
    assert_ne!(ours.base(), theirs.base());
    // SAFETY: the segment is mapped, and nobody else in this test knows of it.
    unsafe { ours.at(5000).write(42) };
    // SAFETY: as above.
    assert_eq!(unsafe { theirs.at(5000).read() }, 42);
    drop(ours);
    // SAFETY: the peer's mapping does not need ours.
    assert_eq!(unsafe { theirs.at(5000).read() }, 42);
}

#[test]
fn what_could_be_truncated_or_is_no_memory_file_is_refused() {
    let problem = |fd: OwnedFd, len| match Segment::from_fd(fd, len) {
        Err(Error::BadSegment { problem }) => problem,
        other => panic!("{other:?}"),
    };
    let file = tempfile();
    file.set_len(4096).unwrap();
    // The file system decides which: tmpfs knows seals, disks do not.
    let refusals = [
        "the descriptor is not a memory file",
        "it is not sealed against shrinking",
    ];
    assert!(refusals.contains(&problem(file.into(), 4096)));
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(
        problem(socket.into(), 4096),
        "the descriptor is not a memory file"
    );
    let unsealed = memory_file();
    unsealed.set_len(4096).unwrap();
    assert_eq!(
        problem(unsealed.into(), 4096),
        "it is not sealed against shrinking"
    );
    assert_eq!(
        problem(duplicate(&segment(4096)), 0),
        "its length must be between 1 byte and 64 TiB"
    );
    assert_eq!(
        problem(duplicate(&segment(4096)), usize::MAX),
        "its length must be between 1 byte and 64 TiB"
    );
}

#[test]
fn a_peer_that_lies_about_the_length_is_refused() {
    let segment = segment(8192);
    for len in [4096, 8191, 8193, 12288, 1 << 40] {
        let error = Segment::from_fd(duplicate(&segment), len).unwrap_err();
        assert!(
            matches!(error, Error::SizeMismatch { expected, got: 8192 } if expected == len),
            "{len}: {error}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused() {
    let file = memory_file();
    file.set_len(4096).unwrap();
    add_seals(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE);
    let error = Segment::from_fd(file.into(), 4096).unwrap_err();
    assert!(matches!(
        error,
        Error::BadSegment {
            problem: "it is sealed against writing"
        }
    ));
    let odd = memory_file();
    odd.set_len(5000).unwrap();
    add_seals(&odd, libc::F_SEAL_SHRINK);
    let error = Segment::from_fd(odd.into(), 5000).unwrap_err();
    assert!(matches!(
        error,
        Error::BadSegment {
            problem: "its length is not a whole number of pages"
        }
    ));
}

#[test]
fn impossible_lengths_and_nodes_are_refused() {
    for len in [0, usize::MAX, (1 << 46) + 1] {
        assert!(matches!(
            Segment::create(len, &SegmentOptions::default()),
            Err(Error::BadSegment { .. })
        ));
    }
    for node in [1023, 1024, u32::MAX] {
        let options = SegmentOptions {
            node: Some(node),
            ..SegmentOptions::default()
        };
        assert!(matches!(Segment::create(4096, &options), Err(Error::NoSuchNode { node: n }) if n == node));
        let config = PoolConfig {
            node: Some(node),
            ..PoolConfig::default()
        };
        assert!(matches!(Pool::new(config), Err(Error::NoSuchNode { node: n }) if n == node));
    }
}

#[test]
fn node_zero_is_bound_or_the_refusal_is_shown() {
    let options = SegmentOptions {
        node: Some(0),
        ..SegmentOptions::default()
    };
    let segment = Segment::create(1 << 20, &options).unwrap();
    // The kernel's own view; the file exists if it has NUMA support.
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
    let start = format!("{:x} ", segment.base().as_ptr().addr());
    let line = maps
        .lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_default();
    match segment.binding() {
        Binding::Bound { node: 0 } => assert!(line.contains(" bind:0 "), "{line}"),
        Binding::Refused { node: 0, errno } => assert!([libc::ENOSYS, libc::EPERM].contains(&errno)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn huge_pages_are_a_wish() {
    let options = SegmentOptions {
        huge_pages: true,
        ..SegmentOptions::default()
    };
    let segment = Segment::create(3 << 20, &options).unwrap();
    match segment.pages() {
        Pages::ReservedHuge => assert_eq!(segment.len(), 4 << 20, "whole huge pages"),
        _ => assert_eq!(segment.len(), 3 << 20),
    }
    // SAFETY: within the mapping, and nobody else knows of it.
    unsafe { segment.at(segment.len() - 1).write(1) };
}

#[test]
fn a_tensor_can_be_found_in_its_segment() {
    let pool = Pool::new(PoolConfig::default()).unwrap();
    for rows in [3, 6 << 20] {
        let shape = Shape::new(&[rows, 2]).unwrap();
        let mut writer = pool.loan(DType::U8, shape).unwrap().writer::<u8>().unwrap();
        (0..2 * rows).for_each(|n| writer.push(n as u8).unwrap());
        let tensor = writer.finish().unwrap().freeze();
        let view = tensor.rows(1..3).unwrap();
        drop(tensor);
        let location = view.location();
        assert_eq!(location.len, 4);
        let fd = location.fd().try_clone_to_owned().unwrap();
        assert_eq!(read_at(fd, location.offset, 4), [2, 3, 4, 5]);
        let theirs = Segment::from_fd(
            location.fd().try_clone_to_owned().unwrap(),
            location.segment().len(),
        )
        .unwrap();
        // SAFETY: the location lies within the segment, and the view keeps the bytes as they are.
        assert_eq!(unsafe { theirs.at(location.offset + 3).read() }, 5);
    }
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("mlos-segment-{}", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(b"not a memory file").unwrap();
    file
}

fn memory_file() -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string that outlives the call.
    let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn add_seals(file: &File, seals: libc::c_int) {
    use std::os::fd::AsRawFd;
    // SAFETY: works on an open descriptor and touches no memory.
    let rc = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    assert_eq!(rc, 0);
}
