//! mlos-tensor-mem
