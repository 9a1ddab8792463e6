//! An array of a body into a tensor.

use std::borrow::Cow;

use half::{bf16, f16};
use mlos_api::limits::BREATHE_BYTES;
use mlos_api::{Error, TensorSpec};
use mlos_tensor_mem::{DType, Element, ErrorKind, Pool, Shape, Tensor, Writer};

use super::lists::{Lists, Row};
use super::{invalid, shape};
use crate::json::{Cursor, Fault, Number, Value};

/// When a full pool is worth asking again.
const RETRY_AFTER_MS: u64 = 100;

/// Numbers read by the second fastest reader before the fastest is tried again.
const PLAIN_AT_ONCE: usize = 64;

/// Reads the value at the cursor, whose text ends with it, into a loan.
pub(super) async fn read(
    pool: &Pool,
    spec: &TensorSpec,
    value: &Value,
    cursor: Cursor<'_>,
    breathe: &impl AsyncFn(),
) -> Result<Tensor, Error> {
    let shape = shape::of(spec, value).map_err(|reason| invalid(spec, reason))?;
    let mut source = Source {
        cursor,
        lists: Lists::new(value),
        spec,
        breathe,
    };
    match spec.dtype {
        DType::Bool => source.numbers(writer::<bool>(pool, spec, shape)?).await,
        DType::U8 => source.numbers(writer::<u8>(pool, spec, shape)?).await,
        DType::U16 => source.numbers(writer::<u16>(pool, spec, shape)?).await,
        DType::U32 => source.numbers(writer::<u32>(pool, spec, shape)?).await,
        DType::U64 => source.numbers(writer::<u64>(pool, spec, shape)?).await,
        DType::I8 => source.numbers(writer::<i8>(pool, spec, shape)?).await,
        DType::I16 => source.numbers(writer::<i16>(pool, spec, shape)?).await,
        DType::I32 => source.numbers(writer::<i32>(pool, spec, shape)?).await,
        DType::I64 => source.numbers(writer::<i64>(pool, spec, shape)?).await,
        DType::F16 => source.numbers(writer::<f16>(pool, spec, shape)?).await,
        DType::BF16 => source.numbers(writer::<bf16>(pool, spec, shape)?).await,
        DType::F32 => source.numbers(writer::<f32>(pool, spec, shape)?).await,
        DType::F64 => source.numbers(writer::<f64>(pool, spec, shape)?).await,
        DType::String => source.strings(pool, shape).await,
    }
}

/// A tensor of ones, for an attention mask that was not given.
pub(super) fn ones(pool: &Pool, spec: &TensorSpec, shape: Shape) -> Result<Tensor, Error> {
    match spec.dtype {
        DType::Bool => filled::<bool>(pool, spec, shape),
        DType::U8 => filled::<u8>(pool, spec, shape),
        DType::I32 => filled::<i32>(pool, spec, shape),
        DType::I64 => filled::<i64>(pool, spec, shape),
        DType::F16 => filled::<f16>(pool, spec, shape),
        DType::F32 => filled::<f32>(pool, spec, shape),
        // No model in use has a mask of another type; one that has is told to bring it.
        _ => Err(invalid(spec, "is missing")),
    }
}

/// A tensor of zeros, for token types that were not given.
pub(super) fn zeros(pool: &Pool, spec: &TensorSpec, shape: Shape) -> Result<Tensor, Error> {
    let loan = pool
        .loan(spec.dtype, shape)
        .map_err(|error| no_memory(spec, error))?;
    Ok(loan.zeroed().freeze())
}

fn filled<T: Number>(pool: &Pool, spec: &TensorSpec, shape: Shape) -> Result<Tensor, Error> {
    let mut writer = writer::<T>(pool, spec, shape)?;
    while writer.push(T::ONE).is_ok() {}
    Ok(writer.finish().map_err(|error| no_memory(spec, error))?.freeze())
}

fn writer<T: Element>(pool: &Pool, spec: &TensorSpec, shape: Shape) -> Result<Writer<T>, Error> {
    let loan = pool.loan(spec.dtype, shape).and_then(|loan| loan.writer::<T>());
    loan.map_err(|error| no_memory(spec, error))
}

/// One value of a body, on its way into a tensor.
struct Source<'a, B> {
    cursor: Cursor<'a>,
    lists: Lists,
    spec: &'a TensorSpec,
    breathe: &'a B,
}

impl<'a, B: AsyncFn()> Source<'a, B> {
    async fn numbers<T: Number>(&mut self, mut writer: Writer<T>) -> Result<Tensor, Error> {
        self.elements(|cursor, row| read_numbers(cursor, row, &mut writer))
            .await
            .map_err(|fault| self.wrong(writer.written(), &fault))?;
        let written = writer.finish().map_err(|error| no_memory(self.spec, error))?;
        Ok(written.freeze())
    }

    async fn strings(&mut self, pool: &Pool, shape: Shape) -> Result<Tensor, Error> {
        let mut strings: Vec<Cow<'a, str>> = Vec::new();
        let read = self.elements(|cursor, row| {
            while row.goes_on(cursor) {
                row.next(cursor, |cursor| {
                    cursor.string().map(|string| strings.push(string))
                })?;
            }
            Ok(())
        });
        let read = read.await;
        read.map_err(|fault| self.wrong(strings.len(), &fault))?;
        Tensor::from_strings(pool, shape, strings.iter().map(|string| string.as_bytes()))
            .map_err(|error| no_memory(self.spec, error))
    }

    /// Reads the whole value in breaths; `read` reads of a row what it can.
    async fn elements(
        &mut self,
        mut read: impl FnMut(&mut Cursor<'a>, &mut Row) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let cursor = &mut self.cursor;
        while !self.lists.read_to(cursor, cursor.at + BREATHE_BYTES, &mut read)? {
            (self.breathe)().await;
        }
        ends(cursor)
    }

    fn wrong(&self, element: usize, fault: &Fault) -> Error {
        invalid(self.spec, format!("element {element}: {}", fault.what))
    }
}

/// Reads numbers on to the end of the row or of the breath: the usual kinds in loops of their own, which megabytes go
/// through, and each other one by the reader that knows all of JSON.
fn read_numbers<T: Number>(
    cursor: &mut Cursor<'_>,
    row: &mut Row,
    writer: &mut Writer<T>,
) -> Result<(), Fault> {
    while row.goes_on(cursor) {
        read_alike(cursor, row, writer, row.size, T::read_short);
        // Where one is not short, those that follow are mostly not short either.
        let few = row.size.min(row.done + PLAIN_AT_ONCE);
        read_alike(cursor, row, writer, few, T::read_plain);
        if row.done == few && row.done < row.size {
            continue;
        }
        cursor.skip_space();
        if row.done < row.size {
            row.next(cursor, |cursor| {
                // The outline counted commas, so a full tensor here means more elements than commas.
                writer
                    .push(T::read(cursor)?)
                    .map_err(|_| cursor.unexpected("the end of the list"))
            })?;
        }
    }
    Ok(())
}

/// Reads numbers up to the `last` of the row while `read` can and they are separated alike, and stops before the first
/// that is not.
#[inline(never)]
fn read_alike<T: Number>(
    cursor: &mut Cursor<'_>,
    row: &mut Row,
    writer: &mut Writer<T>,
    last: usize,
    read: impl Fn(&[u8], usize) -> Option<(T, usize)>,
) {
    let text = cursor.text;
    let (mut at, mut done) = (cursor.at, row.done);
    let has_space = text.get(at + 1) == Some(&b' ');
    while done < last && at < row.stop {
        let mut start = at;
        if done > 0 {
            if text.get(at) != Some(&b',') || has_space && text.get(at + 1) != Some(&b' ') {
                break;
            }
            start += 1 + usize::from(has_space);
        }
        let Some((value, end)) = read(text, start) else {
            break;
        };
        if writer.push(value).is_err() {
            break;
        }
        at = end;
        done += 1;
    }
    (cursor.at, row.done) = (at, done);
}

fn ends(cursor: &Cursor<'_>) -> Result<(), Fault> {
    if cursor.at < cursor.text.len() {
        return Err(cursor.unexpected("the end of the value"));
    }
    Ok(())
}

/// What the pool says. The shape is the client's, so what is wrong with it is too.
pub(super) fn no_memory(spec: &TensorSpec, error: mlos_tensor_mem::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidInput => invalid(spec, error.to_string()),
        ErrorKind::Exhausted => Error::Overloaded {
            what: String::from("the tensor memory"),
            retry_after_ms: RETRY_AFTER_MS,
        },
        ErrorKind::System => Error::Internal(error.to_string()),
    }
}
