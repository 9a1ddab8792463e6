//! mlos-smi
