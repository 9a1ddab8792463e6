//! The classes of the outside and those of the policy are the same four; this is where they meet.

use mlos_api::{Class, OnMiss};

/// The policy's name of a class.
pub(crate) const fn to_policy(class: Class) -> mlos_scheduler::Class {
    match class {
        Class::Realtime => mlos_scheduler::Class::Realtime,
        Class::High => mlos_scheduler::Class::High,
        Class::Normal => mlos_scheduler::Class::Normal,
        Class::Batch => mlos_scheduler::Class::Batch,
    }
}

/// The outside's name of a class.
pub(crate) const fn from_policy(class: mlos_scheduler::Class) -> Class {
    match class {
        mlos_scheduler::Class::Realtime => Class::Realtime,
        mlos_scheduler::Class::High => Class::High,
        mlos_scheduler::Class::Normal => Class::Normal,
        mlos_scheduler::Class::Batch => Class::Batch,
    }
}

/// The policy's name of what to do with a late job.
pub(crate) const fn on_miss(on_miss: OnMiss) -> mlos_scheduler::OnMiss {
    match on_miss {
        OnMiss::Reject => mlos_scheduler::OnMiss::Reject,
        OnMiss::Degrade => mlos_scheduler::OnMiss::Degrade,
    }
}
