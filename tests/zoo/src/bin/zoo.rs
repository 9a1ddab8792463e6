//! `zoo resnet50 --out DIR`: writes models of the zoo as files.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use mlos_zoo::{Probe, Size, Zoo};

/// Write an ONNX model of a true architecture with seeded random weights.
#[derive(Parser)]
struct Arguments {
    /// Models to write: a name, `mlp-<dim>x<width>x<depth>`, `all`, or `probes`.
    #[arg(required = true)]
    models: Vec<String>,
    /// Directory for the files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The same topology with few channels and layers.
    #[arg(long)]
    tiny: bool,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let size = if arguments.tiny { Size::Tiny } else { Size::Full };
    for name in &arguments.models {
        if name == "probes" {
            for probe in Probe::all() {
                println!("{}", probe.write(&arguments.out)?.display());
            }
            continue;
        }
        for model in find(name)? {
            let path = model
                .write(&arguments.out, size, arguments.seed)
                .with_context(|| format!("cannot write {name} to {}", arguments.out.display()))?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn find(name: &str) -> Result<Vec<Zoo>> {
    if name == "all" {
        return Ok(Zoo::ALL.to_vec());
    }
    if let Some(zoo) = Zoo::ALL.into_iter().find(|zoo| zoo.name() == name) {
        return Ok(vec![zoo]);
    }
    if let Some(sizes) = name.strip_prefix("mlp-") {
        let numbers: Option<Vec<usize>> = sizes
            .split('x')
            .map(|part| part.parse().ok().filter(|number| *number > 0))
            .collect();
        if let Some([dim, width, depth]) = numbers.as_deref() {
            return Ok(vec![Zoo::Mlp {
                dim: *dim,
                width: *width,
                depth: *depth,
            }]);
        }
    }
    let names: Vec<String> = Zoo::ALL.iter().map(Zoo::name).collect();
    bail!(
        "unknown model {name}: use {}, mlp-<dim>x<width>x<depth>, all or probes",
        names.join(", ")
    )
}
