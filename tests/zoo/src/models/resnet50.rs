//! ResNet-50 (He and others, 2015), version 1.5: the stride is in the 3x3 convolution. Batch normalisation is folded
//! into the convolutions, as every exporter of a model in evaluation mode does.

use crate::graph::{Graph, Value, dims};
use crate::ops::Conv;
use crate::{DType, Size};

pub(crate) struct Config {
    pub image: usize,
    /// Channels of the first stage; 64 in the original.
    channels: usize,
    blocks: [usize; 4],
    classes: usize,
}

impl Config {
    pub(crate) fn new(size: Size) -> Self {
        match size {
            Size::Full => Self {
                image: 224,
                channels: 64,
                blocks: [3, 4, 6, 3],
                classes: 1000,
            },
            Size::Tiny => Self {
                image: 32,
                channels: 4,
                blocks: [1, 2, 2, 1],
                classes: 10,
            },
        }
    }
}

/// `x` [N, 3, 224, 224] → `logits` [N, 1000].
pub(crate) fn graph(size: Size, seed: u64) -> Graph {
    let config = Config::new(size);
    let mut g = Graph::new("resnet50", seed);
    let mut x = g.input("x", DType::F32, &dims!["N", 3, config.image, config.image]);
    x = g.conv("conv1", x, Conv::same(3, config.channels, 7).stride(2));
    x = g.relu(x);
    x = g.max_pool(x, 3, 2, 1);
    let mut channels = config.channels;
    for (stage, blocks) in config.blocks.into_iter().enumerate() {
        let narrow = config.channels << stage;
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = bottleneck(
                &mut g,
                &name,
                x,
                Bottleneck {
                    from: channels,
                    narrow,
                    stride,
                },
            );
            channels = narrow * 4;
        }
    }
    let x = g.global_average(x);
    let logits = g.gemm("fc", x, channels, config.classes, 1.0);
    g.output("logits", logits, DType::F32, &dims!["N", config.classes]);
    g
}

struct Bottleneck {
    from: usize,
    narrow: usize,
    stride: usize,
}

fn bottleneck(g: &mut Graph, name: &str, x: Value, block: Bottleneck) -> Value {
    let Bottleneck { from, narrow, stride } = block;
    let to = narrow * 4;
    let y = g.conv(&format!("{name}.conv1"), x, Conv::same(from, narrow, 1));
    let y = g.relu(y);
    let y = g.conv(
        &format!("{name}.conv2"),
        y,
        Conv::same(narrow, narrow, 3).stride(stride),
    );
    let y = g.relu(y);
    // A low gain at the end of each branch, or sixteen additions would double the variance sixteen times.
    let y = g.conv(&format!("{name}.conv3"), y, Conv::same(narrow, to, 1).gain(0.25));
    let shortcut = if from == to && stride == 1 {
        x
    } else {
        let conv = Conv::same(from, to, 1).stride(stride).gain(1.0);
        g.conv(&format!("{name}.downsample"), x, conv)
    };
    let sum = g.add(y, shortcut);
    g.relu(sum)
}
