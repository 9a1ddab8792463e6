//! MobileNetV2 (Sandler and others, 2018), width 1.0: inverted residuals with depthwise convolutions and ReLU6.

use crate::graph::{Graph, Value, dims};
use crate::ops::Conv;
use crate::{DType, Size};

/// A run of equal blocks.
struct Stage {
    expansion: usize,
    to: usize,
    blocks: usize,
    stride: usize,
}

const fn stage(expansion: usize, to: usize, blocks: usize, stride: usize) -> Stage {
    Stage {
        expansion,
        to,
        blocks,
        stride,
    }
}

const FULL: [Stage; 7] = [
    stage(1, 16, 1, 1),
    stage(6, 24, 2, 2),
    stage(6, 32, 3, 2),
    stage(6, 64, 4, 2),
    stage(6, 96, 3, 1),
    stage(6, 160, 3, 2),
    stage(6, 320, 1, 1),
];
const TINY: [Stage; 3] = [stage(1, 4, 1, 1), stage(2, 8, 2, 2), stage(2, 12, 1, 2)];

pub(crate) struct Config {
    pub image: usize,
    stem: usize,
    stages: &'static [Stage],
    head: usize,
    classes: usize,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        match size {
            Size::Full => Self {
                image: 224,
                stem: 32,
                stages: &FULL,
                head: 1280,
                classes: 1000,
            },
            Size::Tiny => Self {
                image: 32,
                stem: 8,
                stages: &TINY,
                head: 24,
                classes: 10,
            },
        }
    }
}

/// `x` [N, 3, 224, 224] → `logits` [N, 1000].
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let mut g = Graph::new("mobilenet_v2", seed);
    let mut x = g.input("x", DType::F32, &dims!["N", 3, config.image, config.image]);
    x = g.conv("stem", x, Conv::same(3, config.stem, 3).stride(2));
    x = g.relu6(x);
    let mut from = config.stem;
    let mut index = 0;
    for stage in config.stages {
        for block in 0..stage.blocks {
            let stride = if block == 0 { stage.stride } else { 1 };
            let shape = Inverted {
                from,
                hidden: from * stage.expansion,
                to: stage.to,
                stride,
            };
            x = inverted_residual(&mut g, &format!("blocks.{index}"), x, shape);
            from = stage.to;
            index += 1;
        }
    }
    x = g.conv("head", x, Conv::same(from, config.head, 1));
    x = g.relu6(x);
    let x = g.global_average(x);
    let logits = g.gemm("classifier", x, config.head, config.classes, 1.0);
    g.output("logits", logits, DType::F32, &dims!["N", config.classes]);
    g
}

struct Inverted {
    from: usize,
    hidden: usize,
    to: usize,
    stride: usize,
}

fn inverted_residual(g: &mut Graph, name: &str, x: Value, shape: Inverted) -> Value {
    let Inverted {
        from,
        hidden,
        to,
        stride,
    } = shape;
    let mut y = x;
    if hidden != from {
        y = g.conv(&format!("{name}.expand"), y, Conv::same(from, hidden, 1));
        y = g.relu6(y);
    }
    let depthwise = Conv {
        groups: hidden,
        ..Conv::same(hidden, hidden, 3).stride(stride)
    };
    y = g.conv(&format!("{name}.depthwise"), y, depthwise);
    y = g.relu6(y);
    y = g.conv(&format!("{name}.project"), y, Conv::same(hidden, to, 1).gain(1.0));
    if from == to && stride == 1 { g.add(x, y) } else { y }
}
