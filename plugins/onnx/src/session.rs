//! Sessions of ONNX Runtime, all built one way.

use std::path::Path;

use ort::operator::OperatorDomain;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::error::Result;
use crate::join_op::JoinOperator;
use crate::library::Runtime;
use crate::rearrange_op::{Order, RearrangeOperator};
use crate::yield_op;

/// What a session is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// The model as it came: optimised while it loads.
    Plain,
    /// As `Plain`, and the optimised graph is written to `graph`, its weights into the file `weights` beside it.
    Optimise {
        graph: &'a Path,
        weights: Option<&'a str>,
    },
    /// A graph that is optimised already.
    Prepared,
    /// As `Prepared`, and ONNX Runtime writes the times of its nodes to files that begin with `report`.
    Profile { report: &'a Path },
}

/// Loads a model file.
pub(crate) fn open(runtime: &Runtime, path: &Path, threads: u32, purpose: Purpose<'_>) -> Result<Session> {
    let builder = Session::builder(&runtime.environment)?
        .with_intra_threads(threads as usize)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        // A spinning pool would take the core from everybody else on it.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_operators(operators()?)?;
    let mut builder = with_purpose(builder, purpose)?;
    Ok(builder.commit_from_file(path)?)
}

/// The operators of ours, for each session anew.
fn operators() -> ort::Result<OperatorDomain> {
    let domain = yield_op::domain()?.add(JoinOperator)?;
    Order::ALL
        .into_iter()
        .try_fold(domain, |domain, order| domain.add(RearrangeOperator(order)))
}

fn with_purpose(builder: SessionBuilder, purpose: Purpose<'_>) -> Result<SessionBuilder> {
    let all = GraphOptimizationLevel::All;
    let none = GraphOptimizationLevel::Disable;
    Ok(match purpose {
        Purpose::Plain => builder.with_optimization_level(all)?,
        Purpose::Prepared => builder.with_optimization_level(none)?,
        Purpose::Profile { report } => builder.with_optimization_level(none)?.with_profiling(report)?,
        Purpose::Optimise { graph, weights } => {
            let builder = builder
                .with_optimization_level(all)?
                .with_optimized_model_path(graph)?;
            match weights {
                None => builder,
                Some(file) => builder
                    .with_config_entry("session.optimized_model_external_initializers_file_name", file)?
                    .with_config_entry(
                        "session.optimized_model_external_initializers_min_size_in_bytes",
                        crate::limits::EXTERNAL_TENSOR_BYTES_MIN.to_string(),
                    )?,
            }
        }
    })
}
