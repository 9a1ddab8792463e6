//! The result of an inference, as JSON.
//!
//! Written by hand into one buffer: the numbers are almost all of it, and a tree of values in between would cost
//! several times what printing them does.

use std::io::Write as _;

use half::{bf16, f16};
use mlos_api::{InferResponse, NamedTensor};
use mlos_tensor_mem::{DType, Element, Error, Tensor};

/// Room for everything but the data.
const FRAME_BYTES: usize = 512;
/// Room for one number: what an `f32` of ordinary size takes, with its comma.
const NUMBER_BYTES: usize = 12;

/// The body of a successful inference.
///
/// Floats have the fewest digits that read back as the same value. What JSON has no number for is a string: `"NaN"`,
/// `"Infinity"`, `"-Infinity"`, as in a request.
pub(crate) fn response(response: &InferResponse) -> Vec<u8> {
    let elements: usize = response
        .outputs
        .iter()
        .map(|output| output.tensor.shape().elements().unwrap_or(0))
        .sum();
    let mut text = Text(Vec::with_capacity(
        FRAME_BYTES * (1 + response.outputs.len()) + NUMBER_BYTES * elements,
    ));
    text.raw("{\"status\":\"success\",\"model_id\":");
    text.string(&response.model.to_string());
    text.raw(",\"model_version\":");
    match &response.model.version {
        Some(version) => text.string(version),
        None => text.raw("null"),
    }
    text.raw(",\"outputs\":");
    text.list(response.outputs.iter(), Text::output);
    text.raw(",\"class\":\"");
    text.raw(response.class.name());
    text.raw("\",\"timing\":{");
    let timing = &response.timing;
    for (name, value) in [
        ("\"queue_us\":", timing.queue_ns / 1000),
        (",\"compute_us\":", timing.compute_ns / 1000),
        (",\"total_us\":", timing.total_ns / 1000),
        (",\"preemptions\":", u64::from(timing.preemptions)),
        (",\"parts\":", u64::from(timing.parts)),
        ("},\"inference_time_us\":", timing.compute_ns / 1000),
    ] {
        text.raw(name);
        text.integer(value);
    }
    text.raw("}");
    text.0
}

struct Text(Vec<u8>);

impl Text {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(value));
    }

    fn string(&mut self, text: &str) {
        // Writing to a `Vec` cannot fail, nor can a string.
        let _ = serde_json::to_writer(&mut self.0, text);
    }

    fn list<I>(&mut self, items: impl Iterator<Item = I>, mut write: impl FnMut(&mut Self, I)) {
        self.raw("[");
        for (position, item) in items.enumerate() {
            if position > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    fn output(&mut self, output: &NamedTensor) {
        self.raw("{\"name\":");
        self.string(&output.name);
        self.raw(",\"dtype\":\"");
        self.raw(output.tensor.dtype().name());
        self.raw("\",\"shape\":");
        self.list(output.tensor.shape().dims().iter(), |text, &dim| {
            text.integer(dim)
        });
        self.raw(",\"data\":");
        if let Err(error) = self.data(&output.tensor) {
            // A plugin that hands out malformed bools or strings: the answer stays JSON, and says so.
            let _ = write!(self.0, "null,\"fault\":");
            self.string(&error.to_string());
        }
        self.raw("}");
    }

    fn data(&mut self, tensor: &Tensor) -> Result<(), Error> {
        match tensor.dtype() {
            DType::Bool => self.elements(tensor, |text, &value: &bool| {
                text.raw(if value { "true" } else { "false" })
            }),
            DType::U8 => self.elements(tensor, |text, &value: &u8| text.integer(value)),
            DType::U16 => self.elements(tensor, |text, &value: &u16| text.integer(value)),
            DType::U32 => self.elements(tensor, |text, &value: &u32| text.integer(value)),
            DType::U64 => self.elements(tensor, |text, &value: &u64| text.integer(value)),
            DType::I8 => self.elements(tensor, |text, &value: &i8| text.integer(value)),
            DType::I16 => self.elements(tensor, |text, &value: &i16| text.integer(value)),
            DType::I32 => self.elements(tensor, |text, &value: &i32| text.integer(value)),
            DType::I64 => self.elements(tensor, |text, &value: &i64| text.integer(value)),
            DType::F16 => self.elements(tensor, |text, &value: &f16| text.float(value.to_f32())),
            DType::BF16 => self.elements(tensor, |text, &value: &bf16| text.float(value.to_f32())),
            DType::F32 => self.elements(tensor, |text, &value: &f32| text.float(value)),
            DType::F64 => self.elements(tensor, |text, &value: &f64| text.float(value)),
            DType::String => {
                let strings = tensor.strings()?;
                self.list(strings, |text, value| {
                    text.string(&String::from_utf8_lossy(value))
                });
                Ok(())
            }
        }
    }

    fn elements<T: Element>(
        &mut self,
        tensor: &Tensor,
        write: impl FnMut(&mut Self, &T),
    ) -> Result<(), Error> {
        let elements = tensor.as_slice::<T>()?;
        self.list(elements.iter(), write);
        Ok(())
    }

    fn float<T: zmij::Float + Into<f64> + Copy>(&mut self, value: T) {
        let wide: f64 = value.into();
        if wide.is_finite() {
            self.raw(zmij::Buffer::new().format_finite(value));
        } else if wide.is_nan() {
            self.raw("\"NaN\"");
        } else {
            self.raw(if wide > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        }
    }
}
