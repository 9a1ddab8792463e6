use crate::DType;

/// Size of one dimension as a model declares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// Known per call only; the name, if it has one, says which dimensions agree.
    Dynamic(Option<String>),
}

/// An input or an output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its dimensions; none for a scalar, or when the model does not say.
    pub dims: Vec<Dim>,
    /// An input that a call may leave out.
    pub optional: bool,
}

/// What a model needs and how it may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Bytes once loaded, weights included; 0 if not known.
    pub memory_bytes: u64,
    /// Threads that one inference keeps busy, its own included.
    pub threads: u32,
    /// `infer` may run on several threads, and again on one where a call is suspended.
    pub reentrant: bool,
    /// Dimension 0 of every input and output is a batch of independent rows.
    pub rows_independent: bool,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory_bytes: 0,
            threads: 1,
            reentrant: true,
            rows_independent: false,
        }
    }
}

/// What a loaded model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// In the order in which a call passes them.
    pub inputs: Vec<TensorSpec>,
    /// In the order of their indices.
    pub outputs: Vec<TensorSpec>,
    /// Needs and abilities.
    pub resources: Resources,
}

/// How the run time of a model is cut by its checkpoints at one batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceProfile {
    /// Size of dimension 0.
    pub rows: u64,
    /// Time of one inference.
    pub total_ns: u64,
    /// Longest time without a checkpoint.
    pub longest_slice_ns: u64,
    /// Checkpoints in one inference.
    pub checkpoints: u64,
}
