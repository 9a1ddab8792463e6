//! From what people have — text, images — to the tensors a model wants, as its manifest declares.
//!
//! Runs on a thread of its own, weaker than the fronts: decoding an image takes milliseconds.

use std::path::Path;
use std::sync::Arc;

use axon_package::Manifest;
use axon_package::manifest::{Port, PreprocessingKind};
use bytes::Bytes;
use futures_channel::oneshot;
use image::DynamicImage;
use image::imageops::FilterType;
use mlos_api::{Error, Inputs, NamedTensor, Signature, TensorSpec};
use mlos_tensor_mem::{DType, Element, ErrorKind, Pool, Shape, Tensor, TensorUninit};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

use crate::actor::Actor;
use crate::limits;

/// What a tokenizer makes.
const TOKEN_INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// A model's own way from text or image to tensors.
#[derive(Debug)]
pub(crate) enum Preprocessor {
    Text(Box<TextStep>),
    Image(ImageStep),
}

/// Token ids, and the masks that belong to them.
#[derive(Debug)]
pub(crate) struct TextStep {
    tokenizer: Tokenizer,
    inputs: Vec<TensorSpec>,
}

/// Pixels, resized and normalised.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageStep {
    input: String,
    dtype: DType,
    width: u32,
    height: u32,
    channels: usize,
    /// Scale the shorter side to this, then cut the middle out; none stretches to the size.
    crop_from: Option<u32>,
    /// `[channels, height, width]` if true, else `[height, width, channels]`.
    channels_first: bool,
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Preprocessor {
    /// What the manifest declares for the inputs of this signature, if anything.
    pub fn new(manifest: &Manifest, root: &Path, signature: &Signature) -> Result<Option<Self>, Error> {
        let ports = &manifest.spec.io.inputs;
        for port in ports {
            let Some(step) = &port.preprocessing else { continue };
            // Of a package of several graphs, only requests to the first are prepared.
            if !signature.inputs.iter().any(|spec| spec.name == port.name) {
                continue;
            }
            return match step.kind {
                PreprocessingKind::Tokenizer => TextStep::new(&root.join(&step.tokenizer), step, signature)
                    .map(|text| Some(Self::Text(Box::new(text)))),
                PreprocessingKind::Image => {
                    ImageStep::new(port, signature).map(|image| Some(Self::Image(image)))
                }
                _ => continue,
            };
        }
        Ok(None)
    }

    /// What a client may send.
    pub fn kind(&self) -> mlos_api::Preprocessing {
        match self {
            Self::Text(_) => mlos_api::Preprocessing::Text,
            Self::Image(_) => mlos_api::Preprocessing::Image,
        }
    }

    /// Tensors for these texts, one row each.
    pub fn texts(&self, pool: &Pool, texts: &[String]) -> Result<Vec<NamedTensor>, Error> {
        match self {
            Self::Text(step) => step.run(pool, texts),
            Self::Image(_) => Err(Error::InvalidArgument(
                "the model takes images, not text".to_owned(),
            )),
        }
    }

    /// Tensors for these encoded images, one row each.
    pub fn images(&self, pool: &Pool, images: &[Bytes]) -> Result<Vec<NamedTensor>, Error> {
        match self {
            Self::Image(step) => step.run(pool, images),
            Self::Text(_) => Err(Error::InvalidArgument(
                "the model takes text, not images".to_owned(),
            )),
        }
    }
}

impl TextStep {
    fn new(
        path: &Path,
        step: &axon_package::manifest::Preprocessing,
        signature: &Signature,
    ) -> Result<Self, Error> {
        let fault =
            |reason: String| Error::InvalidArgument(format!("tokenizer {}: {reason}", path.display()));
        let odd = signature
            .inputs
            .iter()
            .find(|spec| !TOKEN_INPUTS.contains(&spec.name.as_str()));
        if let Some(odd) = odd {
            return Err(fault(format!(
                "a text makes {}, not the input '{}'",
                TOKEN_INPUTS.join(", "),
                odd.name
            )));
        }
        // Its thread pool would be as many threads again, started from a front and bound to that one's core.
        tokenizers::utils::parallelism::set_parallelism(false);
        let mut tokenizer = Tokenizer::from_file(path).map_err(|error| fault(error.to_string()))?;
        let configured = step.config.get("max_length").and_then(|value| value.as_u64());
        let configured = configured.and_then(|length| usize::try_from(length).ok());
        let max_length = configured.or(tokenizer.get_truncation().map(|params| params.max_length));
        let truncation = TruncationParams {
            max_length: max_length.unwrap_or(limits::TOKENS_MAX),
            ..Default::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| fault(error.to_string()))?;
        if tokenizer.get_padding().is_none() {
            tokenizer.with_padding(Some(PaddingParams::default()));
        }
        Ok(Self {
            tokenizer,
            inputs: signature.inputs.clone(),
        })
    }

    fn run(&self, pool: &Pool, texts: &[String]) -> Result<Vec<NamedTensor>, Error> {
        check_rows(texts.len())?;
        let encodings = self
            .tokenizer
            .encode_batch(texts.to_vec(), true)
            .map_err(|error| Error::InvalidArgument(format!("the text could not be tokenised: {error}")))?;
        let columns = encodings
            .iter()
            .map(|encoding| encoding.get_ids().len())
            .max()
            .unwrap_or(0);
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for spec in &self.inputs {
            let rows: Vec<&[u32]> = encodings
                .iter()
                .map(|encoding| match spec.name.as_str() {
                    "attention_mask" => encoding.get_attention_mask(),
                    "token_type_ids" => encoding.get_type_ids(),
                    _ => encoding.get_ids(),
                })
                .collect();
            tensors.push(NamedTensor {
                name: spec.name.clone(),
                tensor: token_tensor(pool, spec, &rows, columns)?,
            });
        }
        Ok(tensors)
    }
}

fn token_tensor(pool: &Pool, spec: &TensorSpec, rows: &[&[u32]], columns: usize) -> Result<Tensor, Error> {
    let shape = Shape::new(&[rows.len(), columns]).map_err(memory)?;
    let loan = pool.loan(spec.dtype, shape).map_err(memory)?;
    let padded = rows
        .iter()
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat(0)).take(columns));
    match spec.dtype {
        DType::I64 => fill(loan, &padded.map(i64::from).collect::<Vec<_>>()),
        DType::I32 => fill(
            loan,
            &padded
                .map(|id| i32::try_from(id).unwrap_or(i32::MAX))
                .collect::<Vec<_>>(),
        ),
        other => Err(Error::Unsupported(format!(
            "input '{}' is {}; a tokenizer gives int64 or int32",
            spec.name,
            other.name()
        ))),
    }
}

impl ImageStep {
    fn new(port: &Port, signature: &Signature) -> Result<Self, Error> {
        let fault = |reason: &str| {
            Error::InvalidArgument(format!("image preprocessing of '{}': {reason}", port.name))
        };
        let step = port
            .preprocessing
            .as_ref()
            .ok_or_else(|| fault("is not declared"))?;
        let spec = signature
            .inputs
            .iter()
            .find(|spec| spec.name == port.name)
            .ok_or_else(|| fault("the model has no such input"))?;
        let number = |key: &str| step.config.get(key).and_then(|value| value.as_f64());
        let list = |key: &str| -> Option<Vec<f32>> {
            let values = step.config.get(key)?.as_sequence()?;
            values
                .iter()
                .map(|value| value.as_f64().map(|number| number as f32))
                .collect()
        };
        let dims: Vec<i64> = port.shape.clone();
        let [_, a, b, c] = dims[..] else {
            return Err(fault("its shape must have four dimensions"));
        };
        let channels_first = match step.config.get("layout").and_then(|layout| layout.as_str()) {
            Some(layout) => layout.eq_ignore_ascii_case("nchw") || layout.eq_ignore_ascii_case("chw"),
            None => matches!(a, 1 | 3),
        };
        let (channels, height, width) = if channels_first { (a, b, c) } else { (c, a, b) };
        let side = |key: &str, declared: i64| {
            let configured = number(key).or(number("size"));
            configured
                .map(|number| number as i64)
                .or((declared > 0).then_some(declared))
                .filter(|side| *side > 0)
        };
        let width = side("width", width).ok_or_else(|| fault("its width is not declared"))?;
        let height = side("height", height).ok_or_else(|| fault("its height is not declared"))?;
        let channels = usize::try_from(channels)
            .ok()
            .filter(|count| matches!(count, 1 | 3));
        let channels = channels.ok_or_else(|| fault("images have 1 or 3 channels"))?;
        let crops = step.config.get("resize").and_then(|way| way.as_str()) == Some("crop");
        let shortest = number("resize_shortest").unwrap_or(width.min(height) as f64) as u32;
        let crop_from = crops.then_some(shortest);
        let step = Self {
            input: port.name.clone(),
            dtype: spec.dtype,
            width: u32::try_from(width).map_err(|_| fault("its width is out of range"))?,
            height: u32::try_from(height).map_err(|_| fault("its height is out of range"))?,
            channels,
            channels_first,
            crop_from,
            scale: number("scale")
                .or(number("rescale_factor"))
                .map_or(1.0 / 255.0, |scale| scale as f32),
            mean: list("mean")
                .or_else(|| list("image_mean"))
                .unwrap_or_else(|| vec![0.0; channels]),
            std: list("std")
                .or_else(|| list("image_std"))
                .unwrap_or_else(|| vec![1.0; channels]),
        };
        if step.mean.len() != channels || step.std.len() != channels || step.std.contains(&0.0) {
            return Err(fault(
                "mean and std need a number per channel, std none that is zero",
            ));
        }
        if step
            .crop_from
            .is_some_and(|shortest| shortest < step.width.min(step.height))
        {
            return Err(fault("resize_shortest is less than what is cut out"));
        }
        let largest = u64::from(step.width.max(step.height).max(step.crop_from.unwrap_or(0)));
        if largest * largest > limits::IMAGE_PIXELS_MAX {
            return Err(fault("it asks for more pixels than an image may have"));
        }
        Ok(step)
    }

    fn run(&self, pool: &Pool, images: &[Bytes]) -> Result<Vec<NamedTensor>, Error> {
        check_rows(images.len())?;
        let (width, height) = (self.width as usize, self.height as usize);
        let dims = if self.channels_first {
            [images.len(), self.channels, height, width]
        } else {
            [images.len(), height, width, self.channels]
        };
        // Before anything is decoded: the pool bounds what many images together may take.
        let loan = pool
            .loan(self.dtype, Shape::new(&dims).map_err(memory)?)
            .map_err(memory)?;
        let filled = match self.dtype {
            DType::F32 => self.write(loan, images, |pixel| pixel),
            DType::U8 => self.write(loan, images, |pixel| pixel.clamp(0.0, 255.0) as u8),
            other => {
                return Err(Error::Unsupported(format!(
                    "images become float32 or uint8, not {}",
                    other.name()
                )));
            }
        };
        Ok(vec![NamedTensor {
            name: self.input.clone(),
            tensor: filled?,
        }])
    }

    fn write<T: Element>(
        &self,
        loan: TensorUninit,
        images: &[Bytes],
        convert: impl Fn(f32) -> T,
    ) -> Result<Tensor, Error> {
        let mut writer = loan.writer::<T>().map_err(memory)?;
        let mut pixels = Vec::new();
        for bytes in images {
            pixels.clear();
            self.append(bytes, &mut pixels)?;
            let converted: Vec<T> = pixels.iter().map(|pixel| convert(*pixel)).collect();
            writer.extend_from_slice(&converted).map_err(|_| too_many())?;
        }
        Ok(writer.finish().map_err(memory)?.freeze())
    }

    /// To the model's size: stretched, or scaled and cut out of the middle.
    fn resize(&self, image: DynamicImage) -> Result<DynamicImage, Error> {
        let (width, height) = (self.width, self.height);
        if image.width() == width && image.height() == height {
            return Ok(image);
        }
        let Some(shortest) = self.crop_from else {
            return Ok(image.resize_exact(width, height, FilterType::Triangle));
        };
        let shorter = u64::from(image.width().min(image.height()).max(1));
        let scaled = |side: u32, least: u32| {
            (u64::from(side) * u64::from(shortest))
                .div_ceil(shorter)
                .max(u64::from(least))
        };
        let (wide, high) = (scaled(image.width(), width), scaled(image.height(), height));
        if wide * high > limits::IMAGE_PIXELS_MAX {
            return Err(Error::InvalidArgument(format!(
                "an image of {}x{} is too long and thin to be cropped",
                image.width(),
                image.height()
            )));
        }
        let scaled = image.resize_exact(wide as u32, high as u32, FilterType::Triangle);
        Ok(scaled.crop_imm(
            (wide as u32 - width) / 2,
            (high as u32 - height) / 2,
            width,
            height,
        ))
    }

    /// Decodes one image and appends its normalised values in the model's order.
    fn append(&self, bytes: &[u8], pixels: &mut Vec<f32>) -> Result<(), Error> {
        let fault = |error: &dyn std::fmt::Display| {
            Error::InvalidArgument(format!(
                "the image could not be decoded: {error}; send PNG, JPEG, WebP, BMP or GIF"
            ))
        };
        let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes));
        reader = reader.with_guessed_format().map_err(|error| fault(&error))?;
        let mut bounds = image::Limits::default();
        bounds.max_alloc = Some(limits::IMAGE_PIXELS_MAX * 4);
        reader.limits(bounds);
        let decoded = reader.decode().map_err(|error| fault(&error))?;
        let sized = self.resize(decoded)?;
        let raw = if self.channels == 1 {
            sized.to_luma8().into_raw()
        } else {
            sized.to_rgb8().into_raw()
        };
        let value = |channel: usize, byte: u8| {
            (f32::from(byte) * self.scale - self.mean[channel]) / self.std[channel]
        };
        if self.channels_first {
            for channel in 0..self.channels {
                pixels.extend(
                    raw.iter()
                        .skip(channel)
                        .step_by(self.channels)
                        .map(|byte| value(channel, *byte)),
                );
            }
        } else {
            pixels.extend(
                raw.iter()
                    .enumerate()
                    .map(|(at, byte)| value(at % self.channels, *byte)),
            );
        }
        Ok(())
    }
}

fn fill<T: Element>(loan: TensorUninit, values: &[T]) -> Result<Tensor, Error> {
    let mut writer = loan.writer::<T>().map_err(memory)?;
    writer.extend_from_slice(values).map_err(|_| too_many())?;
    Ok(writer.finish().map_err(memory)?.freeze())
}

fn too_many() -> Error {
    Error::Internal("preprocessing made more values than its shape has".to_owned())
}

fn check_rows(rows: usize) -> Result<(), Error> {
    if (1..=limits::PREPROCESS_ROWS_MAX).contains(&rows) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "a request carries 1 to {} rows, not {rows}",
        limits::PREPROCESS_ROWS_MAX
    )))
}

/// A pool that is exhausted is a busy daemon; anything else is our mistake.
pub(crate) fn memory(error: mlos_tensor_mem::Error) -> Error {
    match error.kind() {
        ErrorKind::Exhausted => Error::Overloaded {
            what: "tensor memory".to_owned(),
            retry_after_ms: 100,
        },
        ErrorKind::InvalidInput => Error::InvalidArgument(error.to_string()),
        ErrorKind::System => Error::Internal(error.to_string()),
    }
}

/// A request for the preprocessing thread.
pub(crate) struct Preprocess {
    pub step: Arc<Preprocessor>,
    pub pool: Pool,
    pub inputs: Inputs,
    pub reply: oneshot::Sender<Result<Vec<NamedTensor>, Error>>,
}

/// The actor of the preprocessing thread.
pub(crate) struct PreprocessActor;

impl Actor for PreprocessActor {
    type Message = Preprocess;

    async fn handle(&mut self, message: Preprocess) {
        let Preprocess {
            step,
            pool,
            inputs,
            reply,
        } = message;
        if reply.is_canceled() {
            return;
        }
        let _ = reply.send(match inputs {
            Inputs::Tensors(tensors) => Ok(tensors),
            Inputs::Text(texts) => step.texts(&pool, &texts),
            Inputs::Image(images) => step.images(&pool, &images),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(width: u32, height: u32, crop_from: Option<u32>) -> ImageStep {
        ImageStep {
            input: "x".to_owned(),
            dtype: DType::F32,
            width,
            height,
            channels: 1,
            crop_from,
            channels_first: true,
            scale: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }

    /// Columns of 0, 50, 100 … so that it shows which part of an image is left.
    fn columns(width: u32, height: u32) -> DynamicImage {
        let pixel = |x: u32, _| image::Luma([(x * 50) as u8]);
        DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(width, height, pixel))
    }

    #[test]
    fn images_are_stretched_or_cut_out_of_the_middle() {
        for (what, image, step, expected) in [
            (
                "as it is",
                columns(2, 2),
                step(2, 2, None),
                Some(vec![0, 50, 0, 50]),
            ),
            (
                "cut",
                columns(4, 2),
                step(2, 2, Some(2)),
                Some(vec![50, 100, 50, 100]),
            ),
            (
                "cut high",
                columns(2, 4),
                step(2, 2, Some(2)),
                Some(vec![0, 50, 0, 50]),
            ),
            ("too thin", columns(1, 60_000), step(224, 224, Some(256)), None),
        ] {
            let got = step.resize(image).ok().map(|image| image.to_luma8().into_raw());
            assert_eq!(got, expected, "{what}");
        }
        let stretched = step(2, 2, None).resize(columns(4, 2)).unwrap();
        assert_eq!((stretched.width(), stretched.height()), (2, 2));
    }
}
