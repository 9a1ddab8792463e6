//! The operators that the models use, one method each, and the layers that they share.
//!
//! A layer that has weights takes a name; its weights are called `<name>.weight` and `<name>.bias`, as exporters do.

use crate::graph::{Fill, Graph, Value};
use crate::onnx::AttributeProto as Attribute;

/// Geometry of a square convolution. Padding keeps the size at stride 1.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Input channels.
    pub from: usize,
    /// Output channels.
    pub to: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Pixels of padding on each side.
    pub pad: usize,
    /// Groups; equal to `from` in a depthwise convolution.
    pub groups: usize,
    /// Variance gain of the weights, see [`Fill::scaled`].
    pub gain: f32,
}

impl Conv {
    /// A convolution that keeps the size (at stride 1) and, followed by ReLU, the variance.
    pub fn same(from: usize, to: usize, kernel: usize) -> Self {
        Self {
            from,
            to,
            kernel,
            stride: 1,
            pad: kernel / 2,
            groups: 1,
            gain: 2.0,
        }
    }

    /// The same with another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with another gain.
    pub fn gain(self, gain: f32) -> Self {
        Self { gain, ..self }
    }
}

/// Layers with weights.
impl Graph {
    /// A 2-D convolution with a bias.
    pub fn conv(&mut self, name: &str, x: Value, conv: Conv) -> Value {
        let bias = self.weight(&format!("{name}.bias"), &[conv.to], Fill::Uniform { bound: 0.02 });
        self.convolve(name, x, conv, Some(bias))
    }

    /// A 2-D convolution without a bias.
    pub fn conv_unbiased(&mut self, name: &str, x: Value, conv: Conv) -> Value {
        self.convolve(name, x, conv, None)
    }

    fn convolve(&mut self, name: &str, x: Value, conv: Conv, bias: Option<Value>) -> Value {
        let per_group = conv.from / conv.groups;
        let fill = Fill::scaled(conv.gain, per_group * conv.kernel * conv.kernel);
        let dims = [conv.to, per_group, conv.kernel, conv.kernel];
        let weight = self.weight(&format!("{name}.weight"), &dims, fill);
        let attributes = [
            Attribute::ints("kernel_shape", &[conv.kernel as i64; 2]),
            Attribute::ints("strides", &[conv.stride as i64; 2]),
            Attribute::ints("pads", &[conv.pad as i64; 4]),
            Attribute::int("group", conv.groups as i64),
        ];
        let inputs: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.op("Conv", &inputs, &attributes)
    }

    /// A fully connected layer on rank 2, as PyTorch exports it: `Gemm` with the weight transposed.
    pub fn gemm(&mut self, name: &str, x: Value, from: usize, to: usize, gain: f32) -> Value {
        let weight = self.weight(&format!("{name}.weight"), &[to, from], Fill::scaled(gain, from));
        let bias = self.weight(&format!("{name}.bias"), &[to], Fill::Uniform { bound: 0.02 });
        self.op("Gemm", &[x, weight, bias], &[Attribute::int("transB", 1)])
    }

    /// A fully connected layer on any rank: `MatMul`, then `Add`.
    pub fn linear(&mut self, name: &str, x: Value, from: usize, to: usize, gain: f32) -> Value {
        let product = self.linear_unbiased(name, x, from, to, gain);
        let bias = self.weight(&format!("{name}.bias"), &[to], Fill::Uniform { bound: 0.02 });
        self.add(product, bias)
    }

    /// A fully connected layer without a bias: `MatMul`.
    pub fn linear_unbiased(&mut self, name: &str, x: Value, from: usize, to: usize, gain: f32) -> Value {
        let weight = self.weight(&format!("{name}.weight"), &[from, to], Fill::scaled(gain, from));
        self.matmul(x, weight)
    }

    /// Layer normalisation over the last axis.
    pub fn layer_norm(&mut self, name: &str, x: Value, width: usize, epsilon: f32) -> Value {
        let scale = self.weight(&format!("{name}.weight"), &[width], Fill::Constant(1.0));
        let bias = self.weight(&format!("{name}.bias"), &[width], Fill::Constant(0.0));
        let attributes = [Attribute::int("axis", -1), Attribute::float("epsilon", epsilon)];
        self.op("LayerNormalization", &[x, scale, bias], &attributes)
    }

    /// Root-mean-square normalisation over the last axis, decomposed: opset 17 has no operator for it.
    pub fn rms_norm(&mut self, name: &str, x: Value, width: usize, epsilon: f32) -> Value {
        let two = self.scalar(2.0);
        let squares = self.op("Pow", &[x, two], &[]);
        let mean = self.op("ReduceMean", &[squares], &[Attribute::ints("axes", &[-1])]);
        let epsilon = self.scalar(epsilon);
        let shifted = self.add(mean, epsilon);
        let root = self.op("Sqrt", &[shifted], &[]);
        let normal = self.div(x, root);
        let scale = self.weight(&format!("{name}.weight"), &[width], Fill::Constant(1.0));
        self.mul(scale, normal)
    }

    /// A table of `rows` vectors, uniform of standard deviation `deviation`, and the vectors that `ids` names.
    /// Returns (table, vectors).
    pub fn embedding(
        &mut self,
        name: &str,
        ids: Value,
        [rows, width]: [usize; 2],
        deviation: f32,
    ) -> (Value, Value) {
        let fill = Fill::Uniform {
            bound: deviation * 3f32.sqrt(),
        };
        let table = self.weight(&format!("{name}.weight"), &[rows, width], fill);
        (table, self.gather(table, ids, 0))
    }
}

/// Operators.
impl Graph {
    /// `a + b`, broadcast.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.op("Add", &[a, b], &[])
    }

    /// `a - b`, broadcast.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.op("Sub", &[a, b], &[])
    }

    /// `a * b`, broadcast.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.op("Mul", &[a, b], &[])
    }

    /// `a / b`, broadcast.
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.op("Div", &[a, b], &[])
    }

    /// Matrix product of the last two axes.
    pub fn matmul(&mut self, a: Value, b: Value) -> Value {
        self.op("MatMul", &[a, b], &[])
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: Value) -> Value {
        self.op("Relu", &[x], &[])
    }

    /// `min(max(x, 0), 6)`.
    pub fn relu6(&mut self, x: Value) -> Value {
        let bounds = (self.scalar(0.0), self.scalar(6.0));
        self.op("Clip", &[x, bounds.0, bounds.1], &[])
    }

    /// GELU in its exact form, spelled as exporters do: `x / sqrt(2)`, `Erf`, `+ 1`, `* x`, `* 0.5`.
    pub fn gelu_erf(&mut self, x: Value) -> Value {
        let root_two = self.scalar(std::f32::consts::SQRT_2);
        let one = self.scalar(1.0);
        let half = self.scalar(0.5);
        let scaled = self.div(x, root_two);
        let erf = self.op("Erf", &[scaled], &[]);
        let shifted = self.add(erf, one);
        let product = self.mul(x, shifted);
        self.mul(product, half)
    }

    /// GELU by its tanh approximation, as GPT-2 has it.
    pub fn gelu_tanh(&mut self, x: Value) -> Value {
        let three = self.scalar(3.0);
        let cubic = self.scalar(0.044_715);
        let scale = self.scalar((2.0 / std::f32::consts::PI).sqrt());
        let one = self.scalar(1.0);
        let half = self.scalar(0.5);
        let cube = self.op("Pow", &[x, three], &[]);
        let term = self.mul(cube, cubic);
        let sum = self.add(x, term);
        let inner = self.mul(sum, scale);
        let tanh = self.op("Tanh", &[inner], &[]);
        let shifted = self.add(tanh, one);
        let halved = self.mul(x, half);
        self.mul(halved, shifted)
    }

    /// `x * sigmoid(1.702 x)`, as CLIP has it.
    pub fn quick_gelu(&mut self, x: Value) -> Value {
        let slope = self.scalar(1.702);
        let scaled = self.mul(x, slope);
        let gate = self.op("Sigmoid", &[scaled], &[]);
        self.mul(x, gate)
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, x: Value) -> Value {
        self.op("Softmax", &[x], &[Attribute::int("axis", -1)])
    }

    /// Mean over height and width, as a matrix.
    pub fn global_average(&mut self, x: Value) -> Value {
        let pooled = self.op("GlobalAveragePool", &[x], &[]);
        self.op("Flatten", &[pooled], &[Attribute::int("axis", 1)])
    }

    /// Maximum over squares of `kernel`.
    pub fn max_pool(&mut self, x: Value, kernel: usize, stride: usize, pad: usize) -> Value {
        let attributes = [
            Attribute::ints("kernel_shape", &[kernel as i64; 2]),
            Attribute::ints("strides", &[stride as i64; 2]),
            Attribute::ints("pads", &[pad as i64; 4]),
        ];
        self.op("MaxPool", &[x], &attributes)
    }

    /// Another shape; 0 keeps a dimension and -1 is what remains.
    pub fn reshape(&mut self, x: Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, shape], &[])
    }

    /// Another order of axes.
    pub fn transpose(&mut self, x: Value, order: &[i64]) -> Value {
        self.op("Transpose", &[x], &[Attribute::ints("perm", order)])
    }

    /// Inserts axes of length 1.
    pub fn unsqueeze(&mut self, x: Value, axes: &[i64]) -> Value {
        let axes = self.ints(axes);
        self.op("Unsqueeze", &[x, axes], &[])
    }

    /// Joins along an axis.
    pub fn concat(&mut self, parts: &[Value], axis: i64) -> Value {
        self.op("Concat", parts, &[Attribute::int("axis", axis)])
    }

    /// Picks along an axis.
    pub fn gather(&mut self, x: Value, indices: Value, axis: i64) -> Value {
        self.op("Gather", &[x, indices], &[Attribute::int("axis", axis)])
    }

    /// Converts elements.
    pub fn cast(&mut self, x: Value, to: crate::DType) -> Value {
        self.op("Cast", &[x], &[Attribute::int("to", i64::from(to.code()))])
    }

    /// `condition ? yes : no`, broadcast.
    pub fn select(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        self.op("Where", &[condition, yes, no], &[])
    }

    /// The length of one axis, an int64 scalar.
    pub fn length(&mut self, x: Value, axis: i64) -> Value {
        let shape = self.op("Shape", &[x], &[]);
        let axis = self.int(axis);
        self.gather(shape, axis, 0)
    }

    /// 0, 1, … up to `end`, an int64 scalar.
    pub fn range(&mut self, end: Value) -> Value {
        let (start, step) = (self.int(0), self.int(1));
        self.op("Range", &[start, end, step], &[])
    }
}
