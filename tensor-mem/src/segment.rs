//! Segments: sealed memory files, mapped whole.
//!
//! A segment is made with `memfd_create(2)`, sized once, and sealed against shrinking, growing and further seals, before
//! anybody else can have its descriptor. So whoever maps it may rely on its length: no peer can truncate it and turn
//! our reads into `SIGBUS`.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::numa::{self, Binding, NodePolicy};
use crate::{Error, limits};

/// The size of the huge pages that are asked for: the one that both x86-64 and arm64 with 4 KiB pages have.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Seals of a segment that we create.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Where a segment's pages shall come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentOptions {
    /// The NUMA node, if it matters.
    pub node: Option<u32>,
    /// How strongly.
    pub node_policy: NodePolicy,
    /// Try huge pages: reserved ones first, then transparent ones.
    pub huge_pages: bool,
}

/// What backs a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Pages of the base size.
    #[default]
    Base,
    /// The kernel was told that huge pages are welcome (`MADV_HUGEPAGE`) and may use them.
    TransparentHuge,
    /// Huge pages set aside by the administrator (`vm.nr_hugepages`).
    ReservedHuge,
}

/// A mapped, sealed memory file.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
    base: NonNull<u8>,
    len: usize,
    pages: Pages,
    binding: Binding,
    id: u64,
}

// SAFETY: a segment is an address range and a descriptor, neither tied to a thread. It hands out raw addresses only;
// who may touch the bytes behind them is settled by the loans above it.
unsafe impl Send for Segment {}
// SAFETY: as above; its own fields do not change after creation.
unsafe impl Sync for Segment {}

impl Segment {
    /// A new segment of at least `len` bytes, all zero, its pages untouched.
    pub fn create(len: usize, options: &SegmentOptions) -> Result<Self, Error> {
        if len == 0 || len > limits::TENSOR_BYTES_MAX {
            return Err(Error::BadSegment {
                problem: "its length must be between 1 byte and 64 TiB",
            });
        }
        if let Some(node) = options.node {
            numa::check_node(node)?;
        }
        if options.huge_pages
            && len >= HUGE_PAGE_BYTES
            && let Ok(segment) = Self::create_reserved_huge(len, options)
        {
            return Ok(segment);
        }
        let mut segment = Self::create_base(len)?;
        segment.bind(options)?;
        Ok(segment)
    }

    /// On reserved huge pages, if there are enough of them: mapping takes them from the administrator's stock at once,
    /// so that a touch cannot fail later.
    fn create_reserved_huge(len: usize, options: &SegmentOptions) -> Result<Self, Error> {
        let len = len.next_multiple_of(HUGE_PAGE_BYTES);
        let fd = memory_file(libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)?;
        size_and_seal(&fd, len)?;
        let mut segment = Self::map(fd, len, Pages::ReservedHuge)?;
        segment.bind(options)?;
        if options.node.is_some() {
            // The stock is counted for the machine, not for the node: what was reserved may lie elsewhere, and a touch
            // would then end in SIGBUS. So touch it all now, where that is an error.
            segment.populate()?;
        }
        Ok(segment)
    }

    fn create_base(len: usize) -> Result<Self, Error> {
        let fd = memory_file(0)?;
        let len = len.next_multiple_of(page_bytes()?);
        size_and_seal(&fd, len)?;
        Self::map(fd, len, Pages::Base)
    }

    /// Maps a segment that another process made. `len` is what the peer says; it must be the file's true length, and
    /// the file must be sealed so that it stays true.
    pub fn from_fd(fd: OwnedFd, len: usize) -> Result<Self, Error> {
        if len == 0 || len > limits::TENSOR_BYTES_MAX {
            return Err(Error::BadSegment {
                problem: "its length must be between 1 byte and 64 TiB",
            });
        }
        // SAFETY: F_GET_SEALS takes no argument and touches no memory; the descriptor is open, as we own it.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 {
            return Err(Error::BadSegment {
                problem: "the descriptor is not a memory file",
            });
        }
        if seals & libc::F_SEAL_SHRINK == 0 {
            return Err(Error::BadSegment {
                problem: "it is not sealed against shrinking",
            });
        }
        if seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Error::BadSegment {
                problem: "it is sealed against writing",
            });
        }
        let (file_len, block_len) = file_size(&fd)?;
        if file_len != len {
            return Err(Error::SizeMismatch {
                expected: len,
                got: file_len,
            });
        }
        if !len.is_multiple_of(block_len.max(page_bytes()?)) {
            return Err(Error::BadSegment {
                problem: "its length is not a whole number of pages",
            });
        }
        Self::map(
            fd,
            len,
            if block_len >= HUGE_PAGE_BYTES {
                Pages::ReservedHuge
            } else {
                Pages::Base
            },
        )
    }

    fn bind(&mut self, options: &SegmentOptions) -> Result<(), Error> {
        if let Some(node) = options.node {
            self.binding = numa::bind(self.base, self.len, node, options.node_policy)?;
        }
        Ok(())
    }

    fn populate(&self) -> Result<(), Error> {
        // SAFETY: exactly our mapping; MADV_POPULATE_WRITE takes pages as a write would, and changes no contents.
        let rc = unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) };
        if rc == 0 {
            Ok(())
        } else {
            Err(Error::last_os("madvise MADV_POPULATE_WRITE"))
        }
    }

    fn map(fd: OwnedFd, len: usize, pages: Pages) -> Result<Self, Error> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: no address is asked for, so no mapping of ours is replaced; the descriptor is open.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Error::last_os("mmap"));
        }
        let Some(base) = NonNull::new(address.cast::<u8>()) else {
            return Err(Error::BadSegment {
                problem: "it was mapped at address zero",
            });
        };
        // Relaxed: the number must be unique, nothing else hangs on it.
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            fd,
            base,
            len,
            pages,
            binding: Binding::Default,
            id,
        })
    }

    /// A number that no other segment of this process has had, for peers to tell which ones they know.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its first byte. What lies there belongs to the holder of the loan; the segment only keeps it mapped.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a segment is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What backs it.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// What came of the wish for a node.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// The address of a byte.
    ///
    /// # Panics
    /// When the segment has no byte of that offset.
    pub fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(
            offset < self.len,
            "offset {offset} is outside of a segment of {} bytes",
            self.len
        );
        // SAFETY: within the mapping, as just asserted, and the mapping is one allocation below isize::MAX.
        unsafe { self.base.add(offset) }
    }

    /// Tells the kernel that huge pages are welcome here. Returns whether it has any: a kernel may be built or
    /// configured without, which costs speed and nothing else.
    pub(crate) fn advise_huge(&self, range: Range<usize>) -> bool {
        if self.pages == Pages::ReservedHuge {
            return true;
        }
        assert!(range.end <= self.len);
        let start = self.at(range.start);
        // SAFETY: the range lies in our mapping, as asserted; MADV_HUGEPAGE does not change contents.
        let rc = unsafe { libc::madvise(start.as_ptr().cast(), range.len(), libc::MADV_HUGEPAGE) };
        rc == 0
    }

    /// Gives the pages of a range back to the kernel. They read as zero from then on.
    pub(crate) fn punch(&self, range: Range<usize>) -> Result<(), Error> {
        assert!(range.end <= self.len);
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (start, len) = (range.start as libc::off_t, range.len() as libc::off_t);
        // SAFETY: the call works on the file by descriptor. That its bytes become zero is a write to that range, which
        // the caller owns: no loan is alive in it.
        let rc = unsafe { libc::fallocate(self.fd.as_raw_fd(), mode, start, len) };
        if rc == 0 {
            Ok(())
        } else {
            Err(Error::last_os("fallocate"))
        }
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `map` mapped; loans keep their segment alive, so nothing points into it.
        let rc = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(rc, 0, "munmap: {}", io::Error::last_os_error());
    }
}

fn memory_file(flags: libc::c_uint) -> Result<OwnedFd, Error> {
    let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Kernels from 6.3 want it said that the file shall not be executable; older ones refuse the flag.
    memory_file_with(flags | libc::MFD_NOEXEC_SEAL).or_else(|_| memory_file_with(flags))
}

fn memory_file_with(flags: libc::c_uint) -> Result<OwnedFd, Error> {
    // SAFETY: the name is a C string that outlives the call.
    let fd = unsafe { libc::memfd_create(c"mlos-tensors".as_ptr(), flags) };
    if fd < 0 {
        return Err(Error::last_os("memfd_create"));
    }
    // SAFETY: a descriptor that the kernel has just given us and nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn size_and_seal(fd: &OwnedFd, len: usize) -> Result<(), Error> {
    // SAFETY: works on a descriptor that we own; the length is below TENSOR_BYTES_MAX, so it fits off_t.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) } != 0 {
        return Err(Error::last_os("ftruncate"));
    }
    // SAFETY: F_ADD_SEALS takes an int and works on a descriptor that we own.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } != 0 {
        return Err(Error::last_os("fcntl F_ADD_SEALS"));
    }
    Ok(())
}

/// The file's length and the size of its pages, in bytes.
fn file_size(fd: &OwnedFd) -> Result<(usize, usize), Error> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` has room for what the call writes, and the descriptor is open.
    if unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(Error::last_os("fstat"));
    }
    // SAFETY: fstat succeeded, so it has filled the struct.
    let stat = unsafe { stat.assume_init() };
    let bad = |_| Error::BadSegment {
        problem: "its length is negative",
    };
    Ok((
        usize::try_from(stat.st_size).map_err(bad)?,
        usize::try_from(stat.st_blksize).map_err(bad)?,
    ))
}

fn page_bytes() -> Result<usize, Error> {
    // SAFETY: reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_err(|_| Error::last_os("sysconf"))
}
