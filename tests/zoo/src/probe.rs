//! Models of one node, each for one corner of what a runtime must carry.

use std::io;
use std::path::{Path, PathBuf};

use crate::graph::dims;
use crate::{DType, ExternalData, Fill, Graph, Input, Prng};

/// A model of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `x` [N, 4] → `y` [N, 4], both of the type.
    Identity(DType),
    /// `x` float32 [N, 4] → `y` [N, 4] of the type.
    Cast(DType),
    /// `x` float32 [] → `y` float32 []: rank 0.
    Scalar,
    /// `x` float32 `[N]` → `y` int64 `[1, count]`: an output whose shape nobody can know before the run.
    NonZero,
    /// `a` float32 [m, k], `b` float32 [k, n] → `y` [m, n]: symbols that the inputs share.
    Symbolic,
}

impl Probe {
    /// Every probe.
    pub fn all() -> Vec<Probe> {
        let identities = DType::ALL.into_iter().map(Probe::Identity);
        let casts = DType::ALL.into_iter().map(Probe::Cast);
        let others = [Probe::Scalar, Probe::NonZero, Probe::Symbolic];
        identities.chain(casts).chain(others).collect()
    }

    /// Name of the model and of its file.
    pub fn name(self) -> String {
        match self {
            Probe::Identity(dtype) => format!("identity-{}", dtype.name()),
            Probe::Cast(dtype) => format!("cast-{}", dtype.name()),
            Probe::Scalar => "scalar".to_owned(),
            Probe::NonZero => "non-zero".to_owned(),
            Probe::Symbolic => "symbolic".to_owned(),
        }
    }

    /// The graph.
    pub fn graph(self) -> Graph {
        let mut g = Graph::new(&self.name(), 0);
        match self {
            Probe::Identity(dtype) => {
                let x = g.input("x", dtype, &dims!["N", 4]);
                let y = g.op("Identity", &[x], &[]);
                g.output("y", y, dtype, &dims!["N", 4]);
            }
            Probe::Cast(dtype) => {
                let x = g.input("x", DType::F32, &dims!["N", 4]);
                let y = g.cast(x, dtype);
                g.output("y", y, dtype, &dims!["N", 4]);
            }
            Probe::Scalar => {
                let x = g.input("x", DType::F32, &[]);
                let y = g.op("Neg", &[x], &[]);
                g.output("y", y, DType::F32, &[]);
            }
            Probe::NonZero => {
                let x = g.input("x", DType::F32, &dims!["N"]);
                let y = g.op("NonZero", &[x], &[]);
                g.output("y", y, DType::I64, &dims![1, "count"]);
            }
            Probe::Symbolic => {
                let a = g.input("a", DType::F32, &dims!["m", "k"]);
                let b = g.input("b", DType::F32, &dims!["k", "n"]);
                let y = g.matmul(a, b);
                g.output("y", y, DType::F32, &dims!["m", "n"]);
            }
        }
        g
    }

    /// Writes `<dir>/<name>.onnx`, and the directory if it is missing.
    ///
    /// # Errors
    /// From the file system.
    pub fn write(self, dir: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.onnx", self.name()));
        self.graph().save(&path, ExternalData::Never)?;
        Ok(path)
    }

    /// Valid inputs with `rows` rows.
    pub fn inputs(self, rows: usize, seed: u64) -> Vec<Input> {
        let random = &mut Prng::new(seed, u64::MAX);
        match self {
            Probe::Identity(dtype) => vec![Input::any("x", dtype, &[rows, 4], random)],
            Probe::Cast(_) => vec![Input::any("x", DType::F32, &[rows, 4], random)],
            Probe::Scalar => vec![Input::noise("x", &[], random)],
            Probe::NonZero => vec![Input::f32("x", &[rows], |_| random.below(2) as f32)],
            Probe::Symbolic => {
                vec![
                    Input::noise("a", &[rows, 3], random),
                    Input::noise("b", &[3, 5], random),
                ]
            }
        }
    }
}

/// Width of a row in [`write_sparse`].
const SPARSE_WIDTH: usize = 256;

/// Writes `<dir>/sparse.onnx` with an external table of at least `table_bytes` zeros, which take no disk, and a bias
/// behind them: `ids` int64 `[N]` → `y` float32 `[N, 256]`, each row the bias. Over 2 GiB, it shows that a reader finds its way in a file
/// that no 32-bit offset spans.
///
/// # Errors
/// From the file system.
pub fn write_sparse(dir: &Path, table_bytes: u64) -> io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let rows = table_bytes.div_ceil(4 * SPARSE_WIDTH as u64) as usize;
    let mut g = Graph::new("sparse", 0);
    let ids = g.input("ids", DType::I64, &dims!["N"]);
    let table = g.weight("table", &[rows, SPARSE_WIDTH], Fill::Constant(0.0));
    let bias = g.weight("bias", &[SPARSE_WIDTH], Fill::Uniform { bound: 1.0 });
    let picked = g.gather(table, ids, 0);
    let y = g.add(picked, bias);
    g.output("y", y, DType::F32, &dims!["N", SPARSE_WIDTH]);
    let path = dir.join("sparse.onnx");
    g.save(&path, ExternalData::Above(512))?;
    Ok(path)
}
