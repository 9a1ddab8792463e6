//! mlos-plugin-onnx
