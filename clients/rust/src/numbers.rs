//! Numbers of bindings.

use crate::Error;

/// Numbers below a bound, each given to one at a time.
#[derive(Debug)]
pub(crate) struct Numbers {
    max: u32,
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            next: 0,
            free: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self) -> Result<u32, Error> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        if self.next >= self.max {
            return Err(Error::TooManyBindings { max: self.max });
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        debug_assert!(number < self.next && !self.free.contains(&number));
        self.free.push(number);
    }
}
