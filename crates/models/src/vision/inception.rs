//! The Inception-V3 of FID (arXiv 1706.08500): the network of TensorFlow's `inception-2015-12-05` graph, whose features
//! published FIDs, precisions and recalls are about.
//!
//! Parameters carry the names of its port to PyTorch, `pt_inception-2015-12-05-6726825d.pth` (github.com/mseitzer/pytorch-fid,
//! also in torch-fidelity 0.4.0, `feature_extractor_inceptionv3.py`). It is not torchvision's: average pooling leaves its
//! padding out of the mean, the last block pools by maximum, and pictures are resized as TensorFlow 1 did, without
//! antialiasing and from the corner of a pixel. Only inference, in f32.

use std::path::Path;

use dmdr_tensor::{Device, Init, Kind, ParamStore, Scope, Tensor};

use crate::ModelError;

/// Side in pixels of what the network reads.
const SIDE: i64 = 299;
/// Eps of the batch norms.
const EPS: f64 = 1e-3;
/// Channels of the spatial features. The evaluation of guided diffusion (arXiv 2105.05233) takes the first seven of
/// `mixed_6/conv`: TensorFlow counts the mixed blocks from 0 (`mixed` is `Mixed_5b`), so `mixed_6` is `Mixed_6d`, and
/// its `conv` is `branch1x1`, with which the block's output begins.
const SPATIAL: i64 = 7;

/// A convolution: its name, output channels, height and width of the kernel.
type Layer = (&'static str, i64, [i64; 2]);

/// What a branch of a block does before its convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    None,
    Average,
    Maximum,
}

/// A branch: pooling, convolutions one after another, and convolutions side by side on what they give.
type Plan<'a> = (Pool, &'a [Layer], &'a [Layer]);

const ONE: [i64; 2] = [1, 1];
const THREE: [i64; 2] = [3, 3];
const ROW: [i64; 2] = [1, 7];
const COLUMN: [i64; 2] = [7, 1];

/// Convolution without bias, batch norm by stored moments, ReLU.
#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    scale: Tensor,
    offset: Tensor,
    mean: Tensor,
    variance: Tensor,
    stride: i64,
    padding: [i64; 2],
}

impl Convolution {
    /// One that keeps the size; without padding if `is_valid`.
    fn new(scope: &Scope<'_>, fan_in: i64, layer: Layer, stride: i64, is_valid: bool) -> Self {
        let (name, fan_out, kernel) = layer;
        let scope = scope.sub(name);
        let norm = |name: &str| scope.sub("bn").param(name, &[fan_out], Init::Zeros);
        let shape = [fan_out, fan_in, kernel[0], kernel[1]];
        Self {
            weight: scope.sub("conv").param("weight", &shape, Init::Zeros),
            scale: norm("weight"),
            offset: norm("bias"),
            mean: norm("running_mean"),
            variance: norm("running_var"),
            stride,
            padding: kernel.map(|side| if is_valid { 0 } else { side / 2 }),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let none = None::<&Tensor>;
        let x = x.conv2d(&self.weight, none, [self.stride; 2], self.padding, 1, 1);
        let [weight, bias] = [&self.scale, &self.offset].map(Some);
        let [mean, variance] = [&self.mean, &self.variance].map(Some);
        x.batch_norm(weight, bias, mean, variance, false, 0.0, EPS, false)
            .relu()
    }
}

#[derive(Debug)]
struct Branch {
    pool: Pool,
    chain: Vec<Convolution>,
    ends: Vec<Convolution>,
}

/// Branches side by side, their channels joined.
#[derive(Debug)]
struct Mixed {
    branches: Vec<Branch>,
    /// 2 if it halves the sides: in the last convolution of a chain, or in the pooling of a branch without any.
    stride: i64,
    width: i64,
}

impl Mixed {
    fn new(scope: &Scope<'_>, fan_in: i64, stride: i64, plans: &[Plan<'_>]) -> Self {
        let mut width = 0;
        let branch = |&(pool, chain, ends): &Plan<'_>| {
            let mut channels = fan_in;
            let mut convolution = |(index, &layer): (usize, &Layer)| {
                let halves = stride == 2 && index + 1 == chain.len();
                let stride = if halves { 2 } else { 1 };
                let built = Convolution::new(scope, channels, layer, stride, halves);
                channels = layer.1;
                built
            };
            let chain = chain.iter().enumerate().map(&mut convolution).collect();
            let end = |&layer: &Layer| Convolution::new(scope, channels, layer, 1, false);
            let widths = ends.iter().map(|layer| layer.1).sum::<i64>();
            width += if ends.is_empty() { channels } else { widths };
            Branch {
                pool,
                chain,
                ends: ends.iter().map(end).collect(),
            }
        };
        Self {
            branches: plans.iter().map(branch).collect(),
            stride,
            width,
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let padding = 2 - self.stride; // what halves is not padded
        let outputs: Vec<Tensor> = self
            .branches
            .iter()
            .flat_map(|branch| {
                let first = match branch.pool {
                    Pool::None => x.shallow_clone(),
                    Pool::Average => x.avg_pool2d(3, 1, 1, false, false, None::<i64>),
                    Pool::Maximum => x.max_pool2d(3, self.stride, padding, 1, false),
                };
                let last = branch
                    .chain
                    .iter()
                    .fold(first, |x, layer| layer.forward(&x));
                if branch.ends.is_empty() {
                    vec![last]
                } else {
                    branch.ends.iter().map(|end| end.forward(&last)).collect()
                }
            })
            .collect();
        Tensor::cat(&outputs, 1)
    }
}

/// `InceptionA`, 35 x 35.
fn block_a(scope: &Scope<'_>, fan_in: i64, pooled: i64) -> Mixed {
    const FIVE: [i64; 2] = [5, 5];
    let dbl = [
        ("branch3x3dbl_1", 64, ONE),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, THREE),
    ];
    let plans: [Plan<'_>; 4] = [
        (Pool::None, &[("branch1x1", 64, ONE)], &[]),
        (
            Pool::None,
            &[("branch5x5_1", 48, ONE), ("branch5x5_2", 64, FIVE)],
            &[],
        ),
        (Pool::None, &dbl, &[]),
        (Pool::Average, &[("branch_pool", pooled, ONE)], &[]),
    ];
    Mixed::new(scope, fan_in, 1, &plans)
}

/// `InceptionB`, to 17 x 17.
fn block_b(scope: &Scope<'_>, fan_in: i64) -> Mixed {
    let dbl = [
        ("branch3x3dbl_1", 64, ONE),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, THREE),
    ];
    let plans: [Plan<'_>; 3] = [
        (Pool::None, &[("branch3x3", 384, THREE)], &[]),
        (Pool::None, &dbl, &[]),
        (Pool::Maximum, &[], &[]),
    ];
    Mixed::new(scope, fan_in, 2, &plans)
}

/// `InceptionC`, 17 x 17, `inner` channels inside.
fn block_c(scope: &Scope<'_>, fan_in: i64, inner: i64) -> Mixed {
    let single = [
        ("branch7x7_1", inner, ONE),
        ("branch7x7_2", inner, ROW),
        ("branch7x7_3", 192, COLUMN),
    ];
    let dbl = [
        ("branch7x7dbl_1", inner, ONE),
        ("branch7x7dbl_2", inner, COLUMN),
        ("branch7x7dbl_3", inner, ROW),
        ("branch7x7dbl_4", inner, COLUMN),
        ("branch7x7dbl_5", 192, ROW),
    ];
    let plans: [Plan<'_>; 4] = [
        (Pool::None, &[("branch1x1", 192, ONE)], &[]),
        (Pool::None, &single, &[]),
        (Pool::None, &dbl, &[]),
        (Pool::Average, &[("branch_pool", 192, ONE)], &[]),
    ];
    Mixed::new(scope, fan_in, 1, &plans)
}

/// `InceptionD`, to 8 x 8.
fn block_d(scope: &Scope<'_>, fan_in: i64) -> Mixed {
    let single = [("branch3x3_1", 192, ONE), ("branch3x3_2", 320, THREE)];
    let seven = [
        ("branch7x7x3_1", 192, ONE),
        ("branch7x7x3_2", 192, ROW),
        ("branch7x7x3_3", 192, COLUMN),
        ("branch7x7x3_4", 192, THREE),
    ];
    let plans: [Plan<'_>; 3] = [
        (Pool::None, &single, &[]),
        (Pool::None, &seven, &[]),
        (Pool::Maximum, &[], &[]),
    ];
    Mixed::new(scope, fan_in, 2, &plans)
}

/// `InceptionE`, 8 x 8; the two of them differ in their pooling.
fn block_e(scope: &Scope<'_>, fan_in: i64, pool: Pool) -> Mixed {
    const ACROSS: [i64; 2] = [1, 3];
    const DOWN: [i64; 2] = [3, 1];
    let ends = [("branch3x3_2a", 384, ACROSS), ("branch3x3_2b", 384, DOWN)];
    let dbl = [("branch3x3dbl_1", 448, ONE), ("branch3x3dbl_2", 384, THREE)];
    let dbl_ends = [
        ("branch3x3dbl_3a", 384, ACROSS),
        ("branch3x3dbl_3b", 384, DOWN),
    ];
    let plans: [Plan<'_>; 4] = [
        (Pool::None, &[("branch1x1", 320, ONE)], &[]),
        (Pool::None, &[("branch3x3_1", 384, ONE)], &ends),
        (Pool::None, &dbl, &dbl_ends),
        (pool, &[("branch_pool", 192, ONE)], &[]),
    ];
    Mixed::new(scope, fan_in, 1, &plans)
}

/// What the network sees in pictures.
#[derive(Debug)]
pub struct InceptionFeatures {
    /// `[B, 2048]`, the mean over places of the last block (`pool_3`): of FID, precision and recall.
    pub pooled: Tensor,
    /// `[B, 2023]`, seven channels at 17 x 17 places: of sFID (arXiv 2103.03841).
    pub spatial: Tensor,
}

/// The network up to its classifier.
#[derive(Debug)]
pub struct Inception {
    /// Before each of the first two poolings.
    stem: [Vec<Convolution>; 2],
    /// `Mixed_5b` to `Mixed_6d`.
    early: Vec<Mixed>,
    /// `Mixed_6e` to `Mixed_7c`.
    late: Vec<Mixed>,
}

impl Inception {
    /// Builds the network with parameters in `store`.
    pub fn new(store: &ParamStore) -> Self {
        let root = Scope::root(store, &[]);
        let conv = |fan_in, layer, stride, is_valid| {
            Convolution::new(&root, fan_in, layer, stride, is_valid)
        };
        let stem = [
            vec![
                conv(3, ("Conv2d_1a_3x3", 32, THREE), 2, true),
                conv(32, ("Conv2d_2a_3x3", 32, THREE), 1, true),
                conv(32, ("Conv2d_2b_3x3", 64, THREE), 1, false),
            ],
            vec![
                conv(64, ("Conv2d_3b_1x1", 80, ONE), 1, true),
                conv(80, ("Conv2d_4a_3x3", 192, THREE), 1, true),
            ],
        ];
        let mut width = 192;
        let mut mixed = |name: &str, build: &dyn Fn(&Scope<'_>, i64) -> Mixed| {
            let block = build(&root.sub(name), width);
            width = block.width;
            block
        };
        let early = vec![
            mixed("Mixed_5b", &|scope, width| block_a(scope, width, 32)),
            mixed("Mixed_5c", &|scope, width| block_a(scope, width, 64)),
            mixed("Mixed_5d", &|scope, width| block_a(scope, width, 64)),
            mixed("Mixed_6a", &block_b),
            mixed("Mixed_6b", &|scope, width| block_c(scope, width, 128)),
            mixed("Mixed_6c", &|scope, width| block_c(scope, width, 160)),
            mixed("Mixed_6d", &|scope, width| block_c(scope, width, 160)),
        ];
        let late = vec![
            mixed("Mixed_6e", &|scope, width| block_c(scope, width, 192)),
            mixed("Mixed_7a", &block_d),
            mixed("Mixed_7b", &|scope, width| {
                block_e(scope, width, Pool::Average)
            }),
            mixed("Mixed_7c", &|scope, width| {
                block_e(scope, width, Pool::Maximum)
            }),
        ];
        Self { stem, early, late }
    }

    /// The network with the weights in the file `path`, whose classifier is not read.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn load(path: &Path, device: Device) -> Result<Self, ModelError> {
        let store = ParamStore::frozen(device);
        let net = Self::new(&store);
        let rename = |name: &str| {
            let is_unused = name.starts_with("fc.") || name.ends_with(".num_batches_tracked");
            (!is_unused).then(|| name.to_owned())
        };
        store.load_renamed(path, &rename)?;
        Ok(net)
    }

    /// Features of `images [B, 3, H, W]` in `[0, 1]`, rounded to 8 bits as if they came from files. Without a gradient.
    pub fn features(&self, images: &Tensor) -> InceptionFeatures {
        let bytes = (images.to_kind(Kind::Float).clamp(0.0, 1.0) * 255.0).round();
        let mut x = (resize(&bytes) - 128.0) / 128.0;
        for layers in &self.stem {
            x = layers.iter().fold(x, |x, layer| layer.forward(&x));
            x = x.max_pool2d(3, 2, 0, 1, false);
        }
        let run = |x: Tensor, blocks: &[Mixed]| blocks.iter().fold(x, |x, block| block.forward(&x));
        let middle = run(x, &self.early);
        InceptionFeatures {
            spatial: middle.narrow(1, 0, SPATIAL).flatten(1, -1),
            pooled: run(middle, &self.late).mean_dim(&[2i64, 3][..], false, Kind::Float),
        }
    }
}

/// `[B, 3, H, W]` to squares of [`SIDE`], as TensorFlow 1's `resize_bilinear` does: the corners of the first pixels lie on
/// each other.
fn resize(images: &Tensor) -> Tensor {
    let matrix = |side: i64| {
        let mut values = vec![0f32; (SIDE * side) as usize];
        let scale = (side as f64 / SIDE as f64) as f32;
        for (index, row) in values.chunks_exact_mut(side as usize).enumerate() {
            let place = index as f32 * scale;
            let first = place as usize;
            let part = place - first as f32;
            row[first] += 1.0 - part;
            row[(first + 1).min(side as usize - 1)] += part;
        }
        let matrix = Tensor::from_slice(&values).reshape([SIDE, side]);
        matrix.to_device(images.device())
    };
    let (_, _, height, width) = images.size4().expect("images are [B, C, H, W]");
    let narrow = images.matmul(&matrix(width).tr()); // [B, 3, H, 299]
    matrix(height).matmul(&narrow)
}
