//! How text or an image becomes a tensor: declared in the manifest from the files that models carry for that.
//!
//! Tokenizer: `config.max_length` if the model has a longest input. Image: `config.height`, `width`, `rescale_factor`
//! (unless 1/255), `mean`, `std` (per channel, after scaling), `layout` (`NCHW`), and `resize` (`stretch`, or `crop` to shorten the
//! shorter side to `resize_shortest` first and cut the middle out).

use axon_package::manifest::{Dtype, Port, Preprocessing, PreprocessingKind, Values};
use serde::Deserialize;
use serde_json::Value;

use crate::{Result, describe::Files};

/// Lengths above this mean "no limit" in tokenizer configurations.
const LENGTH_MAX: u64 = 1 << 20;

/// Declares preprocessing for the inputs that text or an image can be turned into.
pub(crate) fn declare(files: &Files<'_>, inputs: &mut [Port]) -> Result<()> {
    for port in inputs.iter_mut() {
        if port.name == "input_ids" && files.find("tokenizer.json").is_some() {
            port.preprocessing = Some(tokenizer(files)?);
        } else if is_image(port) {
            port.preprocessing = image(files, &port.shape)?;
            // Exporters leave the number of channels open; what is declared here makes three.
            if port.preprocessing.is_some() && port.shape[1] == -1 {
                port.shape[1] = 3;
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct TokenizerModel {
    #[serde(rename = "type", default)]
    kind: String,
}

fn tokenizer(files: &Files<'_>) -> Result<Preprocessing> {
    let file: Option<TokenizerFile> = files.json("tokenizer.json")?;
    let length = |path: &str, key: &str| -> Result<Option<u64>> {
        let config: Option<Value> = files.json(path)?;
        Ok(config
            .and_then(|config| config[key].as_u64())
            .filter(|&length| length > 0 && length < LENGTH_MAX))
    };
    let max_length = match length("tokenizer_config.json", "model_max_length")? {
        Some(length) => Some(length),
        None => length("config.json", "max_position_embeddings")?,
    };
    Ok(Preprocessing {
        kind: PreprocessingKind::Tokenizer,
        tokenizer: "tokenizer.json".into(),
        tokenizer_type: file
            .map(|file| file.model.kind.to_lowercase())
            .unwrap_or_default(),
        config: max_length
            .map(|length| ("max_length".to_owned(), length.into()))
            .into_iter()
            .collect(),
    })
}

/// Batch, three channels, height, width.
fn is_image(port: &Port) -> bool {
    let is_float = matches!(port.dtype, Dtype::F32 | Dtype::F16);
    is_float && port.shape.len() == 4 && matches!(port.shape[1], 3 | -1)
}

fn image(files: &Files<'_>, shape: &[i64]) -> Result<Option<Preprocessing>> {
    let Some(config): Option<Value> = files.json("preprocessor_config.json")? else {
        return Ok(None);
    };
    let is_on = |key: &str, otherwise: bool| config[key].as_bool().unwrap_or(otherwise);
    let crop = sides(&config["crop_size"]).filter(|_| is_on("do_center_crop", false));
    let Some((height, width)) = crop.or_else(|| sides(&config["size"])).or_else(|| fixed(shape)) else {
        return Ok(None);
    };
    let mut values = Values::from([
        ("height".to_owned(), height.into()),
        ("width".to_owned(), width.into()),
        ("layout".to_owned(), "NCHW".into()),
        (
            "resize".to_owned(),
            if crop.is_some() { "crop" } else { "stretch" }.into(),
        ),
    ]);
    if let Some(shortest) = config["size"]["shortest_edge"]
        .as_u64()
        .filter(|_| crop.is_some())
    {
        values.insert("resize_shortest".into(), shortest.into());
    }
    let factor = if is_on("do_rescale", true) {
        config["rescale_factor"].as_f64()
    } else {
        Some(1.0)
    };
    if let Some(factor) = factor.filter(|factor| (factor - 1.0 / 255.0).abs() > 1e-9) {
        values.insert("rescale_factor".into(), factor.into());
    }
    if is_on("do_normalize", true) {
        for (key, name) in [("mean", "image_mean"), ("std", "image_std")] {
            let numbers: Vec<f64> = config[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect();
            if numbers.len() == 3 {
                values.insert(
                    key.into(),
                    numbers.into_iter().map(serde_norway::Value::from).collect(),
                );
            }
        }
    }
    Ok(Some(Preprocessing {
        kind: PreprocessingKind::Image,
        tokenizer: String::new(),
        tokenizer_type: String::new(),
        config: values,
    }))
}

/// `224`, `{"height": 224, "width": 224}` or `{"shortest_edge": 224}`.
fn sides(value: &Value) -> Option<(u64, u64)> {
    let side = |key: &str| value[key].as_u64();
    match (
        value.as_u64(),
        side("height"),
        side("width"),
        side("shortest_edge"),
    ) {
        (Some(both), ..) | (_, _, _, Some(both)) => Some((both, both)),
        (_, Some(height), Some(width), _) => Some((height, width)),
        _ => None,
    }
}

fn fixed(shape: &[i64]) -> Option<(u64, u64)> {
    let side = |at: usize| shape.get(at).and_then(|&side| u64::try_from(side).ok());
    Some((side(2)?, side(3)?))
}
