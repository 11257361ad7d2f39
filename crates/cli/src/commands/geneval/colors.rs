//! Colours by CLIP where prompts name one and the detections do not tell.

use anyhow::{Context, Result, bail};
use dmdr_benchmarks::geneval::{Color, Detection, Detections, Layout, Metadata, Rules};
use dmdr_console::progress::Counter;
use dmdr_image::Image;
use dmdr_rewards::{ColorClassifier, Cutout};
use dmdr_tensor::{Runtime, device};

use crate::args::GenevalArgs;

/// The classifier.
pub(super) struct Colors(ColorClassifier);

impl Colors {
    /// The towers that the command line names, if it does.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub(super) fn open(args: &GenevalArgs) -> Result<Option<Self>> {
        let (Some(weights), Some(tokenizer)) = (&args.clip, &args.clip_tokenizer) else {
            return Ok(None);
        };
        let runtime = Runtime::f32(device(&args.device)?);
        let names = Color::ALL.iter().map(Color::to_string).collect();
        let classifier = ColorClassifier::load(weights, tokenizer, runtime, names)?;
        Ok(Some(Self(classifier)))
    }

    /// Fills in the colours on which `rules` decide.
    ///
    /// # Errors
    /// An image that cannot be read, a detection that cannot be cut out of it.
    pub(super) fn fill(
        &mut self,
        prompts: &[Metadata],
        args: &GenevalArgs,
        detections: &mut Detections,
        rules: &Rules,
        quiet: bool,
    ) -> Result<()> {
        let mut counter = Counter::new(quiet, "prompts' colours");
        for (prompt, metadata) in prompts.iter().enumerate() {
            for sample in 0..args.samples {
                let name = Layout::image_name(prompt, sample);
                let Some(found) = detections.get_mut(&name) else {
                    continue; // the rules will say so
                };
                let places = rules.uncolored(metadata, found);
                if places.is_empty() {
                    continue;
                }
                let path = args.draw.images.join(&name);
                let picture = Image::from_file(&path)?;
                for place in places {
                    let color = self.color(&picture, &found[place]);
                    found[place].color = Some(color.with_context(|| {
                        format!("the colour of a detection in `{}`", path.display())
                    })?);
                }
            }
            counter.update(prompt + 1, prompts.len());
        }
        Ok(())
    }

    fn color(&mut self, picture: &Image, detection: &Detection) -> Result<Color> {
        let mask = detection.mask.as_ref();
        if let Some(mask) = mask
            && mask.size() != [picture.height, picture.width]
        {
            bail!(
                "a `{}` has a mask of size {:?}, its image {:?} (height, width)",
                detection.class,
                mask.size(),
                [picture.height, picture.width]
            );
        }
        let mask = mask.map(dmdr_benchmarks::geneval::Mask::pixels);
        let cutout = Cutout {
            bounds: detection.bounds,
            mask: mask.as_deref(),
        };
        let logits = self.0.logits(picture, cutout, &detection.class)?;
        let best = logits
            .iter()
            .zip(Color::ALL)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (_, color) = best.expect("there are ten");
        Ok(color)
    }
}
