//! Matrix products that are too long for a slice, split by columns of their weights.
//!
//! `Y = X W` becomes `Y = [X W1 | X W2 | ...]`: each element is the same sum in the same order, so the result stays the
//! same to the bit, which the preparation checks. The price is one copy of Y, so only very long products are split.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::graph::{Edit, Model, Node, NodeChange, plain_node};
use crate::limits::{SPLIT_COLUMNS, SPLIT_PARTS_MAX, SPLIT_SLICES_MIN};
use crate::schema::{entry, tensor};
use crate::timing::Timed;
use crate::wire::{Fields, WireError, put_bytes, put_number};
use crate::{join_op, yield_op};

/// A product to be split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    /// Number of the node.
    pub node: usize,
    layout: Layout,
    rows: usize,
    columns: usize,
    /// Columns of a part, but for the last.
    part_columns: usize,
}

/// How the weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `X W`: the columns of a part are spread over the matrix, which nobody else may use, as it is rearranged.
    Plain,
    /// `X Wt`: the columns of a part are rows of the matrix and lie together. It stays as it is, for others too, say
    /// an embedding with which it is shared.
    Transposed,
}

impl Layout {
    /// The layout of a product that can be split, `None` for all other nodes.
    fn of(node: &Node<'_>) -> Result<Option<Self>, WireError> {
        Ok(match (node.domain, node.op_type) {
            ("", "MatMul") => Some(Self::Plain),
            ("com.microsoft", "FusedMatMul") if node.integer("transBatchB")? == 0 => {
                match node.integer("transB")? {
                    0 => Some(Self::Plain),
                    _ => Some(Self::Transposed),
                }
            }
            _ => None,
        })
    }
}

impl Split {
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (columns, step) = (self.columns, self.part_columns);
        (0..columns)
            .step_by(step)
            .map(move |start| start..columns.min(start + step))
    }
}

/// Products with constant weights that take several slices of `target_us`.
pub(crate) fn splits(model: &Model<'_>, order: &[Timed], target_us: u64) -> Result<Vec<Split>, WireError> {
    if model.has_graphs_within()? {
        return Ok(Vec::new());
    }
    let uses = model.uses();
    let mut splits = Vec::new();
    for timed in order
        .iter()
        .filter(|timed| timed.time_us > SPLIT_SLICES_MIN * target_us)
    {
        let node = &model.nodes[timed.node];
        let [_, weight] = node.inputs[..] else { continue };
        let Some(layout) = Layout::of(node)? else { continue };
        if layout == Layout::Plain && uses.get(weight) != Some(&1) {
            continue;
        }
        let Some(matrix) = model
            .initializers
            .get(weight)
            .map(|tensor| Matrix::read(tensor))
            .transpose()?
        else {
            continue;
        };
        // Four slices each: the copy costs the same however many parts there are, but each part costs a yield.
        let parts = timed
            .time_us
            .div_ceil(4 * target_us.max(1))
            .clamp(2, SPLIT_PARTS_MAX) as usize;
        if let Some((rows, columns)) = matrix
            .shape()
            .map(|(height, width)| match layout {
                Layout::Plain => (height, width),
                Layout::Transposed => (width, height),
            })
            .filter(|(_, columns)| columns / SPLIT_COLUMNS >= parts)
        {
            let part_columns = columns.div_ceil(parts).next_multiple_of(SPLIT_COLUMNS);
            splits.push(Split {
                node: timed.node,
                layout,
                rows,
                columns,
                part_columns,
            });
        }
    }
    Ok(splits)
}

/// The graph with these products split. Weights in a file of `dir` may be rearranged there, so the graph as it was
/// cannot be used any more.
pub(crate) fn apply(model: &Model<'_>, splits: &[Split], dir: &Path) -> Result<Edit> {
    let by_node: HashMap<usize, &Split> = splits.iter().map(|split| (split.node, split)).collect();
    let mut edit = Edit {
        imports_own: !splits.is_empty(),
        ..Edit::default()
    };
    for (number, node) in model.nodes.iter().enumerate() {
        match by_node.get(&number) {
            None => edit.nodes.push(node.rewritten(&NodeChange::default())?),
            Some(split) => {
                let weight = node.inputs[1];
                edit.initializers
                    .extend(parts_of(weight, model.initializers[weight], split, dir)?);
                if split.layout == Layout::Plain {
                    edit.dropped.insert(weight.to_owned());
                }
                edit.nodes.extend(part_nodes(node, split)?);
            }
        }
    }
    Ok(edit)
}

fn part_name(name: &str, index: usize) -> String {
    format!("{name}/mlos/part/{index}")
}

/// The products of the parts, and what joins them.
fn part_nodes(node: &Node<'_>, split: &Split) -> Result<Vec<Vec<u8>>, WireError> {
    let output = node.outputs[0];
    let mut nodes = Vec::new();
    let mut parts = Vec::new();
    for (index, _) in split.parts().enumerate() {
        let part = part_name(output, index);
        nodes.push(node.rewritten(&NodeChange {
            inputs: HashMap::from([(1, part_name(node.inputs[1], index))]),
            outputs: HashMap::from([(0, part.clone())]),
            name: Some(part.clone()),
        })?);
        parts.push(part);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let name = format!("{output}/mlos/whole");
    nodes.push(plain_node(
        &name,
        (yield_op::DOMAIN, join_op::NAME),
        &parts,
        output,
    ));
    Ok(nodes)
}

/// The tensors of the parts.
fn parts_of(name: &str, message: &[u8], split: &Split, dir: &Path) -> Result<Vec<Vec<u8>>> {
    let matrix = Matrix::read(message)?;
    let Some(data) = &matrix.data else {
        return Err(Error::Runtime(format!("the weights {name} have no data")));
    };
    let mut whole = data.load(split.rows * split.columns * ELEMENT_BYTES, dir)?;
    let arranged: Vec<Vec<u8>> = split.parts().map(|columns| cut(&whole, split, columns)).collect();
    let mut tensors = Vec::new();
    let mut start = 0;
    for (index, (bytes, columns)) in arranged.iter().zip(split.parts()).enumerate() {
        let mut message = Vec::new();
        let (height, width) = match split.layout {
            Layout::Plain => (split.rows, columns.len()),
            Layout::Transposed => (columns.len(), split.rows),
        };
        put_number(&mut message, tensor::DIMS, height as u64);
        put_number(&mut message, tensor::DIMS, width as u64);
        put_number(&mut message, tensor::DATA_TYPE, tensor::TYPE_FLOAT);
        put_bytes(&mut message, tensor::NAME, part_name(name, index).as_bytes());
        data.put(&mut message, bytes, start);
        whole[start..start + bytes.len()].copy_from_slice(bytes);
        start += bytes.len();
        tensors.push(message);
    }
    if split.layout == Layout::Plain {
        data.store(&whole, dir)?;
    }
    Ok(tensors)
}

/// Some columns of a matrix, in C order.
fn cut(whole: &[u8], split: &Split, columns: Range<usize>) -> Vec<u8> {
    if split.layout == Layout::Transposed {
        let column_bytes = split.rows * ELEMENT_BYTES;
        return whole[columns.start * column_bytes..columns.end * column_bytes].to_vec();
    }
    let rows = whole.chunks_exact(split.columns * ELEMENT_BYTES);
    rows.flat_map(|row| &row[columns.start * ELEMENT_BYTES..columns.end * ELEMENT_BYTES])
        .copied()
        .collect()
}

/// Only 32-bit floats are split.
const ELEMENT_BYTES: usize = 4;

/// A weight as its message describes it.
#[derive(Debug, Default)]
struct Matrix<'a> {
    dims: Vec<u64>,
    is_float: bool,
    data: Option<Data<'a>>,
}

#[derive(Debug)]
enum Data<'a> {
    Inline(&'a [u8]),
    File { name: &'a str, offset: u64 },
}

impl<'a> Matrix<'a> {
    fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut matrix = Self::default();
        let (mut name, mut offset) = (None, 0);
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                tensor::DIMS => matrix.dims.extend(field.varints()?),
                tensor::DATA_TYPE => matrix.is_float = field.varint()? == tensor::TYPE_FLOAT,
                tensor::RAW_DATA => matrix.data = Some(Data::Inline(field.bytes()?)),
                tensor::EXTERNAL_DATA => match read_entry(field.bytes()?)? {
                    ("location", value) => name = Some(value),
                    ("offset", value) => offset = value.parse().unwrap_or(u64::MAX),
                    _ => {}
                },
                _ => {}
            }
        }
        if let Some(name) = name {
            matrix.data = Some(Data::File { name, offset });
        }
        Ok(matrix)
    }

    /// Rows and columns, if it is a matrix of floats with its data where they can be cut.
    fn shape(&self) -> Option<(usize, usize)> {
        let [rows, columns] = self.dims[..] else {
            return None;
        };
        let shape = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
        let bytes = shape.0.checked_mul(shape.1)?.checked_mul(ELEMENT_BYTES)?;
        let there = match self.data.as_ref()? {
            Data::Inline(data) => data.len() == bytes,
            Data::File { .. } => true,
        };
        (self.is_float && there).then_some(shape)
    }
}

fn read_entry(message: &[u8]) -> Result<(&str, &str), WireError> {
    Ok((
        crate::graph::text_of(message, entry::KEY)?,
        crate::graph::text_of(message, entry::VALUE)?,
    ))
}

impl Data<'_> {
    fn load(&self, len: usize, dir: &Path) -> Result<Vec<u8>> {
        match self {
            Self::Inline(data) => Ok(data.to_vec()),
            Self::File { name, offset } => {
                let path = dir.join(name);
                let mut bytes = vec![0; len];
                let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, *offset));
                read.map(|()| bytes).map_err(|source| Error::io(path, source))
            }
        }
    }

    /// Writes the rearranged matrix where the matrix was.
    fn store(&self, bytes: &[u8], dir: &Path) -> Result<()> {
        let Self::File { name, offset } = self else {
            return Ok(());
        };
        let path = dir.join(name);
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.write_all_at(bytes, *offset))
            .map_err(|source| Error::io(path, source))
    }

    /// Says in a part's message where its data are, `start` bytes into the rearranged matrix.
    fn put(&self, message: &mut Vec<u8>, bytes: &[u8], start: usize) {
        let Self::File { name, offset } = self else {
            return put_bytes(message, tensor::RAW_DATA, bytes);
        };
        let place = (offset + start as u64).to_string();
        for (key, value) in [
            ("location", *name),
            ("offset", &place),
            ("length", &bytes.len().to_string()),
        ] {
            let mut pair = Vec::new();
            put_bytes(&mut pair, entry::KEY, key.as_bytes());
            put_bytes(&mut pair, entry::VALUE, value.as_bytes());
            put_bytes(message, tensor::EXTERNAL_DATA, &pair);
        }
        put_number(message, tensor::DATA_LOCATION, tensor::LOCATION_EXTERNAL);
    }
}
