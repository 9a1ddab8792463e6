//! Binding of memory to a NUMA node: `mbind(2)` by number, as no maintained crate wraps it without libnuma.

use std::io;
use std::path::Path;
use std::ptr::NonNull;

use crate::Error;
use crate::limits::NODES_MAX;

/// How strongly memory is tied to its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodePolicy {
    /// Only that node (`MPOL_BIND`): placement is certain, and a full node is an out-of-memory condition.
    #[default]
    Bind,
    /// That node while it has memory, else its neighbours (`MPOL_PREFERRED`).
    Prefer,
}

/// What came of binding a segment to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// No node was asked for, or nothing is mapped yet.
    #[default]
    Default,
    /// The kernel took the policy.
    Bound {
        /// The node.
        node: u32,
    },
    /// The kernel has no NUMA support or a sandbox forbids the call; memory comes from wherever it is touched.
    Refused {
        /// The node asked for.
        node: u32,
        /// `ENOSYS` or `EPERM`.
        errno: i32,
    },
}

/// Whether the machine has that node. A kernel without NUMA support has node 0 only.
pub(crate) fn check_node(node: u32) -> Result<(), Error> {
    let nodes = Path::new("/sys/devices/system/node");
    let known = node < NODES_MAX && nodes.join(format!("node{node}")).exists();
    if known || node == 0 {
        Ok(())
    } else {
        Err(Error::NoSuchNode { node })
    }
}

/// Binds the pages of a mapping, before they are touched, to a node that [`check_node`] knows.
pub(crate) fn bind(base: NonNull<u8>, len: usize, node: u32, policy: NodePolicy) -> Result<Binding, Error> {
    const WORD_BITS: usize = libc::c_ulong::BITS as usize;
    let mode = match policy {
        NodePolicy::Bind => libc::MPOL_BIND,
        NodePolicy::Prefer => libc::MPOL_PREFERRED,
    };
    let mut mask: [libc::c_ulong; NODES_MAX as usize / WORD_BITS] = [0; _];
    mask[node as usize / WORD_BITS] |= 1 << (node as usize % WORD_BITS);
    // The kernel reads one bit less than `maxnode` says.
    let maxnode = libc::c_ulong::from(NODES_MAX) + 1;
    let flags: libc::c_uint = 0;
    // SAFETY: mbind(2) changes the policy of pages, not their content. The mask outlives the call and has `NODES_MAX`
    // bits. A range that is not a mapping is an error (EFAULT), not undefined.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            base.as_ptr(),
            len,
            mode,
            mask.as_ptr(),
            maxnode,
            flags,
        )
    };
    if rc == 0 {
        return Ok(Binding::Bound { node });
    }
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(errno @ (libc::ENOSYS | libc::EPERM)) => Ok(Binding::Refused { node, errno }),
        _ => Err(Error::Os {
            call: "mbind",
            source,
        }),
    }
}
