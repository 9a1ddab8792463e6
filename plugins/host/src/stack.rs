use crate::error::Error;
use crate::limits::{CALLS_PER_THREAD_MAX, STACK_BYTES, STACKS_IDLE_MAX};
use corosensei::stack::{DefaultStack, Stack, StackPointer};
use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;

/// The stacks of one thread: `live` are in use, `idle` wait, warm in the cache, for the next call.
struct Stacks {
    live: usize,
    idle: Vec<DefaultStack>,
}

thread_local! {
    static STACKS: RefCell<Stacks> = const { RefCell::new(Stacks { live: 0, idle: Vec::new() }) };
}

thread_local! {
    /// From where to where the stack of this thread reaches; nothing before it was looked up.
    static OWN: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Beside what a plugin is promised: for the frames between it and whoever asks, and what the libraries of the system take
/// of a thread's stack for themselves.
const SPARE_BYTES: usize = 64 * 1024;

/// Whether the caller is on the stack of its thread, and a plugin has there the room that it is promised.
#[inline]
pub(crate) fn has_room() -> bool {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let (low, high) = OWN.get().unwrap_or_else(look_up);
    here < high && here >= low + STACK_BYTES + SPARE_BYTES
}

/// The bounds of this thread's stack, without its guard. If they cannot be had, those of one without room.
#[cold]
fn look_up() -> (usize, usize) {
    let bounds = bounds().unwrap_or((0, 0));
    OWN.set(Some(bounds));
    bounds
}

fn bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: has no conditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the calling thread is alive; the memory is ours to write.
    let code = unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) };
    if code != 0 {
        return None;
    }
    let (mut start, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the attributes were made; the places are ours to write.
    let stack = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size) };
    // SAFETY: as above.
    let guarded = unsafe { libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard) };
    // SAFETY: made by pthread_getattr_np, and not used any more.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    // Whether the guard lies inside of what is named depends on the library; it is small.
    (stack == 0 && guarded == 0).then(|| (start.addr() + guard, start.addr() + size))
}

/// A guard-paged stack on loan from its thread's pool.
pub(crate) struct PooledStack(Option<DefaultStack>);

impl PooledStack {
    /// The stack that this thread used last, or a new one.
    #[inline]
    pub(crate) fn take() -> Result<Self, Error> {
        STACKS.with_borrow_mut(|stacks| {
            if stacks.live >= CALLS_PER_THREAD_MAX {
                return Err(Error::TooManyCalls {
                    limit: CALLS_PER_THREAD_MAX,
                });
            }
            let stack = match stacks.idle.pop() {
                Some(stack) => stack,
                None => DefaultStack::new(STACK_BYTES).map_err(Error::Stack)?,
            };
            stacks.live += 1;
            Ok(Self(Some(stack)))
        })
    }

    fn inner(&self) -> &DefaultStack {
        self.0.as_ref().expect("a stack is there until it is dropped")
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        let Some(stack) = self.0.take() else { return };
        // While the thread ends its pool may be gone; then the stack is simply unmapped.
        let _ = STACKS.try_with(|stacks| {
            let mut stacks = stacks.borrow_mut();
            stacks.live -= 1;
            if stacks.idle.len() < STACKS_IDLE_MAX {
                stacks.idle.push(stack);
            }
        });
    }
}

// SAFETY: both ends are those of the DefaultStack inside, which keeps its promises and lives as long as this.
unsafe impl Stack for PooledStack {
    fn base(&self) -> StackPointer {
        self.inner().base()
    }

    fn limit(&self) -> StackPointer {
        self.inner().limit()
    }
}

/// Stacks of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackStats {
    /// Belong to calls that have not finished.
    pub live: usize,
    /// Wait for a call.
    pub idle: usize,
}

/// Counts the calling thread's stacks.
pub fn stack_stats() -> StackStats {
    STACKS.with_borrow(|stacks| StackStats {
        live: stacks.live,
        idle: stacks.idle.len(),
    })
}
