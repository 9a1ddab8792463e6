//! A reader of JSON that never builds a tree.
//!
//! A body is walked twice. The first walk finds the members of the object and, for each array, how deep it is nested
//! and how many elements it has ([`outline`]): that decides the tensor's shape, and so its loan. The second walk
//! reads the elements straight into the loan ([`number`]), and is the strict one: what the first let pass is found
//! there. Runs of numbers that are written alike go through loops of their own: short fractions ([`short`]), then
//! plain numbers ([`decimal`]). A tree of values costs 32 bytes and two passes over memory for each number; a body of a
//! vision model has 150,528 of them.

mod cursor;
mod decimal;
mod number;
mod outline;
mod short;

pub(crate) use cursor::{Cursor, Fault};
pub(crate) use number::Number;
pub(crate) use outline::{Member, Outline, Value, members};
