//! How near generated pictures are to true ones as sets: the FID family, by the features of an encoder that is named.
//!
//! With FID's Inception the distance is FID (arXiv 1706.08500), sFID (2103.03841) on its spatial features, and precision
//! and recall (1904.06991) as in the evaluation of guided diffusion (2105.05233), whose TensorFlow network has the same weights.
//! With other encoders it is a Fréchet distance of theirs and says so. Few images bias all of them: compare equal numbers.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use dmdr_batches::images_to_tensor;
use dmdr_image::{Image, PictureKind};
use dmdr_models::{ClipVision, DinoVision, Inception};
use dmdr_rewards::{Settings, preprocess::Preprocess};
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard};

use crate::{EvalError, Gaussian, LEAST_IMAGES, Manifold};

/// Whose features pictures are compared by.
#[derive(Debug)]
pub enum Encoder {
    /// FID's.
    Inception(Inception),
    /// An image tower of CLIP, projected, not of unit length.
    Clip(ClipVision, Preprocess),
    /// The class token of DINOv2.
    Dino(DinoVision, Preprocess),
}

/// Features of a set of images, f32 on the CPU.
#[derive(Debug)]
pub struct Features {
    /// `[N, E]`.
    pub pooled: Tensor,
    /// `[N, S]`, of Inception alone.
    pub spatial: Option<Tensor>,
}

impl Encoder {
    /// As in the names of columns.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inception(_) => "inception",
            Self::Clip(..) => "clip",
            Self::Dino(..) => "dino",
        }
    }

    /// Preprocessing, for reports.
    pub fn describe(&self) -> Settings {
        match self {
            Self::Inception(_) => BTreeMap::from([
                ("fit", "squash, bilinear of TensorFlow 1".to_owned()),
                ("size", "299".to_owned()),
            ]),
            Self::Clip(_, preprocess) | Self::Dino(_, preprocess) => preprocess.describe(),
        }
    }

    /// Names of the metrics, in the order of a table's columns.
    pub fn columns(&self) -> Vec<String> {
        match self {
            Self::Inception(_) => ["FID", "sFID", "precision", "recall"]
                .map(str::to_owned)
                .into(),
            _ => ["FD", "precision", "recall"]
                .map(|metric| format!("{metric} ({})", self.name()))
                .into(),
        }
    }

    /// Features of `images [B, 3, H, W]` in `[0, 1]`, rounded to 8 bits as the reference's are.
    pub fn features(&self, images: &Tensor) -> Features {
        let _guard = no_grad_guard();
        let images = &((images * 255.0).round() / 255.0);
        let (pooled, spatial) = match self {
            Self::Inception(net) => {
                let features = net.features(images);
                (features.pooled, Some(features.spatial))
            }
            Self::Clip(net, preprocess) => (net.forward(&preprocess.forward(images)), None),
            Self::Dino(net, preprocess) => (net.embed(&preprocess.forward(images)), None),
        };
        let here = |features: Tensor| features.to_device(Device::Cpu).to_kind(Kind::Float);
        Features {
            pooled: here(pooled),
            spatial: spatial.map(here),
        }
    }

    /// Features of the pictures in `files`, read `batch_size` at a time onto `device`. `progress` is told (done, of).
    ///
    /// # Errors
    /// A file that is no picture.
    pub fn features_of(
        &self,
        files: &[PathBuf],
        batch_size: usize,
        device: Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Features, EvalError> {
        let mut found = Vec::new();
        let mut num_done = 0;
        for chunk in files.chunks(batch_size) {
            let read = |path: &PathBuf| Image::from_file(path);
            let images = chunk.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let is_like = |a: &Image, b: &Image| (a.width, a.height) == (b.width, b.height);
            for images in images.chunk_by(is_like) {
                found.push(self.features(&images_to_tensor(images, device)));
            }
            num_done += chunk.len();
            progress(num_done, files.len());
        }
        Ok(Features::join(found))
    }
}

impl Features {
    /// Of all `parts`, in their order.
    ///
    /// # Panics
    /// If there are none.
    pub fn join(parts: Vec<Self>) -> Self {
        let (pooled, spatial): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|part| (part.pooled, part.spatial))
            .unzip();
        let spatial: Option<Vec<Tensor>> = spatial.into_iter().collect();
        Self {
            pooled: Tensor::cat(&pooled, 0),
            spatial: spatial.map(|spatial| Tensor::cat(&spatial, 0)),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pooled.size()[0] as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What generated pictures are compared with.
#[derive(Debug)]
pub struct Reference {
    features: Features,
    gaussian: Gaussian,
    spatial: Option<Gaussian>,
    manifold: Manifold,
}

impl Reference {
    /// Of the features of true pictures.
    ///
    /// # Panics
    /// With fewer than [`LEAST_IMAGES`].
    pub fn new(features: Features) -> Self {
        Self {
            gaussian: Gaussian::fit(&features.pooled),
            spatial: features.spatial.as_ref().map(Gaussian::fit),
            manifold: Manifold::new(&features.pooled),
            features,
        }
    }

    /// Number of pictures.
    pub fn num_images(&self) -> usize {
        self.features.len()
    }

    /// The metrics of [`Encoder::columns`] of generated pictures with `features`, by the same encoder.
    ///
    /// # Panics
    /// With fewer than [`LEAST_IMAGES`].
    pub fn compare(&self, features: &Features) -> Vec<f64> {
        let distance = |features, truth| Gaussian::fit(features).frechet_distance(truth);
        let mut metrics = vec![distance(&features.pooled, &self.gaussian)];
        if let (Some(spatial), Some(truth)) = (&features.spatial, &self.spatial) {
            metrics.push(distance(spatial, truth));
        }
        metrics.push(self.manifold.share_of(&features.pooled));
        metrics.push(Manifold::new(&features.pooled).share_of(&self.features.pooled));
        metrics
    }
}

/// PNG and JPEG files in `folder` and below, sorted. Their content tells what they are; hidden files, `Thumbs.db` and files
/// that are no pictures are passed over.
///
/// # Errors
/// A folder that cannot be read or holds fewer than [`LEAST_IMAGES`]; a picture of another format, which would be missed;
/// and a file that only its name makes a picture.
pub fn pictures(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| EvalError::Folder {
            folder: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if is_picture(&path)? {
                found.push(path);
            }
        }
    }
    if found.len() < LEAST_IMAGES {
        return Err(EvalError::FewPictures {
            folder: folder.to_owned(),
            found: found.len(),
        });
    }
    found.sort();
    Ok(found)
}

/// Endings of pictures, also of those that are not read.
const NAMES: [&str; 15] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic",
    "heif", "jxl", "jp2",
];

/// Whether the file in `path` is to be read.
fn is_picture(path: &Path) -> Result<bool, EvalError> {
    let kind = PictureKind::of(path)?;
    let ending = path.extension().map(OsStr::to_ascii_lowercase);
    let is_called = ending.is_some_and(|it| NAMES.iter().any(|name| it == *name));
    if kind == PictureKind::Readable {
        return Ok(true);
    }
    if is_called || kind != PictureKind::None {
        Image::from_file(path)?; // which says what is wrong
    }
    Ok(false)
}
