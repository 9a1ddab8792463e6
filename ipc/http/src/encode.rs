//! The result of an inference, as JSON.
//!
//! Written by hand into one buffer: the numbers are almost all of it, and a tree of values in between would cost
//! several times what printing them does.

use half::{bf16, f16};
use mlos_api::limits::BREATHE_BYTES;
use mlos_api::{InferResponse, NamedTensor, Timing};
use mlos_tensor_mem::{DType, Element, Error, Tensor};

use crate::breath::ready;

/// Room for everything but the data.
const FRAME_BYTES: usize = 512;
/// Room for one number: what an `f32` of ordinary size takes, with its comma.
const NUMBER_BYTES: usize = 12;

/// Elements printed between two breaths.
const BREATHE_ELEMENTS: usize = BREATHE_BYTES / NUMBER_BYTES;

/// Writes the body of a successful inference, as the server does. Public for the benchmark and for tests.
#[must_use]
pub fn write_response(answer: &InferResponse) -> Vec<u8> {
    ready(response(answer, &async || ()))
}

/// The body of a successful inference.
///
/// Floats have the fewest digits that read back as the same value. What JSON has no number for is a string: `"NaN"`,
/// `"Infinity"`, `"-Infinity"`, as in a request.
pub(crate) async fn response(response: &InferResponse, breathe: &impl AsyncFn()) -> Vec<u8> {
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
    text.raw(",\"outputs\":[");
    for (position, output) in response.outputs.iter().enumerate() {
        text.raw(if position > 0 { "," } else { "" });
        text.output(output, breathe).await;
    }
    text.raw("],\"class\":\"");
    text.raw(response.class.name());
    text.timing(&response.timing);
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

    fn timing(&mut self, timing: &Timing) {
        for (name, value) in [
            ("\",\"timing\":{\"queue_us\":", timing.queue_ns / 1000),
            (",\"compute_us\":", timing.compute_ns / 1000),
            (",\"total_us\":", timing.total_ns / 1000),
            (",\"preemptions\":", u64::from(timing.preemptions)),
            (",\"parts\":", u64::from(timing.parts)),
            ("},\"inference_time_us\":", timing.compute_ns / 1000),
        ] {
            self.raw(name);
            self.integer(value);
        }
        self.raw("}");
    }

    fn list<I>(&mut self, items: impl Iterator<Item = I>, mut write: impl FnMut(&mut Self, I)) {
        for (position, item) in items.enumerate() {
            if position > 0 {
                self.raw(",");
            }
            write(self, item);
        }
    }

    async fn output(&mut self, output: &NamedTensor, breathe: &impl AsyncFn()) {
        self.raw("{\"name\":");
        self.string(&output.name);
        self.raw(",\"dtype\":\"");
        self.raw(output.tensor.dtype().name());
        self.raw("\",\"shape\":[");
        self.list(output.tensor.shape().dims().iter(), |text, &dim| {
            text.integer(dim)
        });
        self.raw("],\"data\":[");
        if let Err(error) = self.data(&output.tensor, breathe).await {
            // A plugin that hands out malformed bools or strings: nothing of it was written, and the answer says so.
            self.raw("],\"fault\":");
            self.string(&error.to_string());
            self.raw("}");
        } else {
            self.raw("]}");
        }
    }

    async fn data(&mut self, tensor: &Tensor, breathe: &impl AsyncFn()) -> Result<(), Error> {
        match tensor.dtype() {
            DType::Bool => {
                self.elements(
                    tensor,
                    |text, &value: &bool| text.raw(if value { "true" } else { "false" }),
                    breathe,
                )
                .await
            }
            DType::U8 => {
                self.elements(tensor, |text, &value: &u8| text.integer(value), breathe)
                    .await
            }
            DType::U16 => {
                self.elements(tensor, |text, &value: &u16| text.integer(value), breathe)
                    .await
            }
            DType::U32 => {
                self.elements(tensor, |text, &value: &u32| text.integer(value), breathe)
                    .await
            }
            DType::U64 => {
                self.elements(tensor, |text, &value: &u64| text.integer(value), breathe)
                    .await
            }
            DType::I8 => {
                self.elements(tensor, |text, &value: &i8| text.integer(value), breathe)
                    .await
            }
            DType::I16 => {
                self.elements(tensor, |text, &value: &i16| text.integer(value), breathe)
                    .await
            }
            DType::I32 => {
                self.elements(tensor, |text, &value: &i32| text.integer(value), breathe)
                    .await
            }
            DType::I64 => {
                self.elements(tensor, |text, &value: &i64| text.integer(value), breathe)
                    .await
            }
            DType::F16 => {
                self.elements(tensor, |text, &value: &f16| text.float(value.to_f32()), breathe)
                    .await
            }
            DType::BF16 => {
                self.elements(tensor, |text, &value: &bf16| text.float(value.to_f32()), breathe)
                    .await
            }
            DType::F32 => {
                self.elements(tensor, |text, &value: &f32| text.float(value), breathe)
                    .await
            }
            DType::F64 => {
                self.elements(tensor, |text, &value: &f64| text.float(value), breathe)
                    .await
            }
            DType::String => {
                let strings = tensor.strings()?;
                self.list(strings, |text, value| {
                    text.string(&String::from_utf8_lossy(value))
                });
                Ok(())
            }
        }
    }

    async fn elements<T: Element>(
        &mut self,
        tensor: &Tensor,
        mut write: impl FnMut(&mut Self, &T),
        breathe: &impl AsyncFn(),
    ) -> Result<(), Error> {
        for (position, elements) in tensor.as_slice::<T>()?.chunks(BREATHE_ELEMENTS).enumerate() {
            if position > 0 {
                breathe().await;
                self.raw(",");
            }
            self.list(elements.iter(), &mut write);
        }
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
