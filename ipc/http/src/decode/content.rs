//! Texts and images in place of tensors.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use mlos_api::limits::BREATHE_BYTES;
use mlos_api::{Error, Inputs, ModelDetail, Preprocessing};

use crate::json::{Cursor, Fault, Value};

/// Most texts or images in one request.
const ROWS_MAX: usize = 4096;

/// With or without padding at the end: clients differ.
const BASE64: GeneralPurpose = base64_engine(DecodePaddingMode::Indifferent);
/// What is not the end.
const BASE64_INSIDE: GeneralPurpose = base64_engine(DecodePaddingMode::RequireNone);

const fn base64_engine(padding: DecodePaddingMode) -> GeneralPurpose {
    GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(padding),
    )
}

/// Whether a value of `input` is a text or an image, and the model takes such.
pub(super) fn is_content(detail: &ModelDetail, value: &Value) -> bool {
    let is_text = match value {
        Value::Text => true,
        Value::Array(outline) => outline.is_text() && outline.depth() == 1,
        _ => false,
    };
    is_text && detail.preprocessing != Preprocessing::None
}

/// An image as the whole body.
pub(super) fn image_body(detail: &ModelDetail, body: Bytes) -> Result<Inputs, Error> {
    if detail.preprocessing != Preprocessing::Image {
        return Err(Error::InvalidArgument(format!(
            "model '{}' takes no image; see its inputs at GET /models/{{id}}",
            detail.model
        )));
    }
    if body.is_empty() {
        return Err(Error::InvalidArgument(String::from(
            "the body is empty; it should be an image",
        )));
    }
    Ok(Inputs::Image(vec![body]))
}

/// One string or a list of them, as texts or as images in base64.
pub(super) async fn read(
    detail: &ModelDetail,
    mut cursor: Cursor<'_>,
    breathe: &impl AsyncFn(),
) -> Result<Inputs, Error> {
    let wrong = |fault: Fault| Error::InvalidArgument(format!("input, at byte {}: {}", fault.at, fault.what));
    let strings = strings(&mut cursor).map_err(wrong)?;
    if detail.preprocessing != Preprocessing::Image {
        return Ok(Inputs::Text(strings));
    }
    let mut images = Vec::with_capacity(strings.len());
    for text in &strings {
        images.push(image(text, breathe).await?);
    }
    Ok(Inputs::Image(images))
}

fn strings(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Fault> {
    if cursor.peek() == Some(b'"') {
        return Ok(vec![cursor.string()?.into_owned()]);
    }
    let mut strings = Vec::new();
    cursor.expect(b'[')?;
    loop {
        if strings.len() == ROWS_MAX {
            return Err(Fault::new(cursor.at, format!("more than {ROWS_MAX} rows")));
        }
        strings.push(cursor.string()?.into_owned());
        cursor.skip_space();
        if cursor.take(b']') {
            return Ok(strings);
        }
        cursor.expect(b',')?;
    }
}

/// Base64, or a `data:` URL of it.
async fn image(text: &str, breathe: &impl AsyncFn()) -> Result<Bytes, Error> {
    let wrong = |what: String| Error::InvalidArgument(format!("input: {what}"));
    let base64 = match text.strip_prefix("data:") {
        None => text,
        Some(url) => url
            .split_once(";base64,")
            .map(|(_, data)| data)
            .ok_or_else(|| wrong(String::from("the data url is not base64")))?,
    };
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3 + 3);
    let mut rest = base64.as_bytes();
    while !rest.is_empty() {
        // Whole groups of four; padding may stand in the last piece only.
        let (piece, after) = rest.split_at(rest.len().min(BREATHE_BYTES));
        let engine = if after.is_empty() { &BASE64 } else { &BASE64_INSIDE };
        engine
            .decode_vec(piece, &mut bytes)
            .map_err(|error| wrong(format!("the image is not base64: {error}")))?;
        rest = after;
        if !rest.is_empty() {
            breathe().await;
        }
    }
    if bytes.is_empty() {
        return Err(wrong(String::from("the image is empty")));
    }
    Ok(bytes.into())
}

const _: () = assert!(BREATHE_BYTES.is_multiple_of(4));
