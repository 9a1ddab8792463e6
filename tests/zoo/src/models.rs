//! The architectures, one file each. A function takes its own configuration, which has a full and a tiny value.

pub(crate) mod bert;
pub(crate) mod clip;
pub(crate) mod digits;
pub(crate) mod gpt2;
pub(crate) mod mlp;
pub(crate) mod mobilenet_v2;
pub(crate) mod resnet50;
pub(crate) mod t5;
mod transformer;
pub(crate) mod vit;
