//! A request's bytes into an [`InferRequest`].

use bytes::Bytes;
use http::HeaderMap;
use mlos_api::{Error, InferRequest, ModelDetail, ModelRef};
use mlos_tensor_mem::Pool;

use crate::answer::Refusal;

/// stub
pub(crate) enum Media {
    Json,
}
impl Media {
    pub(crate) fn of(_: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self::Json)
    }
}
/// stub
#[derive(Default)]
pub(crate) struct Controls;
impl Controls {
    pub(crate) fn from_headers(_: &HeaderMap) -> Result<Self, Error> {
        Ok(Self)
    }
}
pub(crate) fn request(
    _: &ModelRef,
    _: Controls,
    _: Media,
    _: Bytes,
    _: &ModelDetail,
    _: &Pool,
) -> Result<InferRequest, Error> {
    Err(Error::Unsupported(String::new()))
}
