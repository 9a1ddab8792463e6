//! A request that is being put together.

use mlos_shm::{DType, Shape};

use crate::bound::Bound;
use crate::model::{Model, TensorInfo};
use crate::tensors::{Part, Tensors};
use crate::{Direction, Error, limits};

/// What of a model's tensors a request has, and how large they are. [`bind`](Self::bind) takes the memory.
///
/// What the model fixes needs no saying. A first dimension that it leaves open is 1, or what [`rows`](Self::rows) says;
/// any other that it leaves open is said by [`dims`](Self::dims). For an output of which only the model knows the
/// shape, [`capacity`](Self::capacity) is enough.
#[derive(Clone, Debug)]
pub struct Request {
    model: Model,
    rows: u64,
    said: Vec<(String, Said)>,
}

#[derive(Clone, Debug)]
enum Said {
    Dims(Vec<usize>),
    Capacity(usize),
    LeftOut,
}

/// All that was said of one tensor.
#[derive(Debug, Default)]
struct Wish<'a> {
    dims: Option<&'a [usize]>,
    capacity: Option<usize>,
    is_left_out: bool,
}

impl Request {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            model,
            rows: 1,
            said: Vec::new(),
        }
    }

    /// The first dimension of every tensor whose model leaves it open.
    #[must_use]
    pub fn rows(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// The dimensions of an input, or those expected of an output.
    #[must_use]
    pub fn dims(self, name: &str, dims: &[usize]) -> Self {
        self.say(name, Said::Dims(dims.to_vec()))
    }

    /// The room for an output, or for an input of strings, in bytes.
    #[must_use]
    pub fn capacity(self, name: &str, bytes: usize) -> Self {
        self.say(name, Said::Capacity(bytes))
    }

    /// Leaves out an output that is not wanted, or an input that the model does not need.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.say(name, Said::LeftOut)
    }

    fn say(mut self, name: &str, said: Said) -> Self {
        self.said.push((name.to_owned(), said));
        self
    }

    /// Takes memory for all tensors, zeroed, and has the daemon check it, once.
    ///
    /// # Errors
    /// What was said does not fit the model; the arena is exhausted; the daemon's refusal.
    pub fn bind(&self) -> Result<Bound, Error> {
        self.check_names()?;
        let inputs = self.lay_out(Direction::Input)?;
        let outputs = self.lay_out(Direction::Output)?;
        let (connection, signature) = (self.model.connection(), self.model.signature());
        let tensors = connection.with(|core| {
            let number = connection.number(core)?;
            let tensors = Tensors::new(&connection.arena, signature, number, inputs, outputs);
            let tensors = tensors.inspect_err(|_| connection.give_back(core, number))?;
            connection.bind(core, Box::new(tensors)).map_err(|failed| {
                // Without an answer the number is in use until one comes.
                if failed.tensors.is_some() {
                    connection.give_back(core, number);
                }
                failed.error
            })
        })?;
        Ok(Bound::new(self.model.clone(), tensors))
    }

    fn check_names(&self) -> Result<(), Error> {
        let signature = self.model.signature();
        for (name, _) in &self.said {
            if signature.position(Direction::Output, name).is_err() {
                signature.position(Direction::Input, name)?;
            }
        }
        Ok(())
    }

    fn lay_out(&self, direction: Direction) -> Result<Vec<Option<Part>>, Error> {
        let infos = self.model.signature().tensors(direction);
        infos.iter().map(|info| self.part(info, direction)).collect()
    }

    fn wish(&self, name: &str) -> Wish<'_> {
        let mut wish = Wish::default();
        for (_, said) in self.said.iter().filter(|(said_of, _)| said_of == name) {
            match said {
                Said::Dims(dims) => wish.dims = Some(dims),
                Said::Capacity(bytes) => wish.capacity = Some(*bytes),
                Said::LeftOut => wish.is_left_out = true,
            }
        }
        wish
    }

    fn part(&self, info: &TensorInfo, direction: Direction) -> Result<Option<Part>, Error> {
        let wish = self.wish(&info.name);
        if wish.is_left_out {
            return Ok(None);
        }
        let shape = self.shape(info, direction, wish.dims)?;
        let bytes = match (shape, wish.capacity) {
            (Some(shape), capacity) => bytes(info.dtype, &shape, capacity)?,
            (None, Some(capacity)) if direction == Direction::Output => capacity,
            (None, _) => {
                return Err(Error::OpenDims {
                    direction,
                    name: info.name.clone(),
                    declared: info.declared(),
                });
            }
        };
        let mut loan = self.model.connection().arena.loan(bytes)?;
        // What another request left there is nobody's input; and no page is missing when it matters.
        loan.bytes_mut().fill(0);
        let used = match (direction, shape) {
            (Direction::Input, Some(shape)) => least_bytes(info.dtype, &shape)?,
            _ => bytes,
        };
        Ok(Some(Part { loan, used, shape }))
    }

    /// The tensor's shape, if all of it is known.
    fn shape(
        &self,
        info: &TensorInfo,
        direction: Direction,
        said: Option<&[usize]>,
    ) -> Result<Option<Shape>, Error> {
        let wrong = |got: &[usize]| Error::WrongDims {
            direction,
            name: info.name.clone(),
            declared: info.declared(),
            got: got.to_vec(),
        };
        if let Some(dims) = said {
            let fits = |(dim, declared): (&usize, &Option<u64>)| {
                declared.is_none_or(|declared| declared == *dim as u64)
            };
            if dims.len() != info.dims.len() || !dims.iter().zip(&info.dims).all(fits) {
                return Err(wrong(dims));
            }
            return Shape::new(dims).map(Some).map_err(|_| wrong(dims));
        }
        let rows = |axis| (axis == 0).then_some(self.rows);
        let dims = info.dims.iter().enumerate();
        let dims: Option<Vec<usize>> = dims
            .map(|(axis, dim)| {
                dim.or_else(|| rows(axis))
                    .and_then(|dim| usize::try_from(dim).ok())
            })
            .collect();
        dims.map(|dims| Shape::new(&dims).map_err(|_| wrong(&dims)))
            .transpose()
    }
}

/// Room for a tensor of a known shape.
fn bytes(dtype: DType, shape: &Shape, capacity: Option<usize>) -> Result<usize, Error> {
    let least = least_bytes(dtype, shape)?;
    let usual = match dtype.size_bytes() {
        Some(_) => least,
        None => shape
            .elements()
            .map_err(mlos_shm::Error::from)?
            .saturating_mul(limits::STRING_BYTES_DEFAULT),
    };
    Ok(capacity.unwrap_or(usual).max(least))
}

/// What a tensor of that shape needs; of strings, when all are empty.
fn least_bytes(dtype: DType, shape: &Shape) -> Result<usize, Error> {
    let dtype = if dtype == DType::String { DType::U32 } else { dtype };
    Ok(shape.byte_len(dtype).map_err(mlos_shm::Error::from)?)
}
