//! Lists in lists, read in breaths.

use crate::json::{Cursor, Fault, Value};

/// How far lists in lists have been read: a state instead of a recursion, so that reading can pause anywhere.
pub(super) struct Lists {
    /// The size of the lists at each depth; none for a value without lists.
    sizes: Vec<usize>,
    /// Elements read of the list that is open at each depth.
    read: Vec<usize>,
}

/// An innermost list, and how far it has been read.
pub(super) struct Row {
    pub(super) size: usize,
    pub(super) done: usize,
    /// Where to pause.
    pub(super) stop: usize,
}

impl Lists {
    pub(super) fn new(value: &Value) -> Self {
        let sizes = match value {
            Value::Array(outline) => outline.dims().unwrap_or_default(),
            _ => Vec::new(),
        };
        let read = Vec::with_capacity(sizes.len());
        Self { sizes, read }
    }

    /// Reads on to `stop` or a little further; true at the end of the outermost list. `read` reads of a row what it
    /// can.
    pub(super) fn read_to<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        stop: usize,
        read: &mut impl FnMut(&mut Cursor<'a>, &mut Row) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        if self.sizes.is_empty() {
            let mut alone = Row {
                size: 1,
                done: 0,
                stop,
            };
            return read(cursor, &mut alone).map(|()| true);
        }
        if self.read.is_empty() {
            self.open(cursor)?;
        }
        while cursor.at < stop {
            let depth = self.read.len();
            let (size, done) = (self.sizes[depth - 1], &mut self.read[depth - 1]);
            if depth == self.sizes.len() {
                let mut row = Row {
                    size,
                    done: *done,
                    stop,
                };
                let result = read(cursor, &mut row);
                *done = row.done;
                result?;
                if row.done < size {
                    return Ok(false);
                }
            } else if *done < size {
                separator(cursor, size, *done)?;
                self.open(cursor)?;
                continue;
            }
            if self.close(cursor, size)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        if !cursor.take(b'[') {
            return Err(cursor.unexpected("a list, as its neighbours are"));
        }
        cursor.skip_space();
        self.read.push(0);
        Ok(())
    }

    /// Steps out of a list; true if it was the outermost.
    fn close(&mut self, cursor: &mut Cursor<'_>, size: usize) -> Result<bool, Fault> {
        if !cursor.take(b']') {
            return Err(differs(cursor, size));
        }
        self.read.pop();
        let Some(done) = self.read.last_mut() else {
            return Ok(true);
        };
        *done += 1;
        cursor.skip_space();
        Ok(false)
    }
}

impl Row {
    /// Whether there is more to read before the next pause.
    #[inline]
    pub(super) const fn goes_on(&self, cursor: &Cursor<'_>) -> bool {
        self.done < self.size && cursor.at < self.stop
    }

    /// Reads one element, with the comma before it and the space around it.
    pub(super) fn next<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        separator(cursor, self.size, self.done)?;
        read(cursor)?;
        cursor.skip_space();
        self.done += 1;
        Ok(())
    }
}

/// The comma before every element but the first.
#[inline]
fn separator(cursor: &mut Cursor<'_>, size: usize, done: usize) -> Result<(), Fault> {
    if done > 0 {
        if !cursor.take(b',') {
            return Err(differs(cursor, size));
        }
        cursor.skip_space();
    }
    Ok(())
}

#[cold]
fn differs(cursor: &Cursor<'_>, size: usize) -> Fault {
    match cursor.peek() {
        Some(b',' | b']') => Fault::new(
            cursor.at,
            format!("its list differs in length from others, which have {size}"),
        ),
        _ => cursor.unexpected("',' or ']'"),
    }
}
