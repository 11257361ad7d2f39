//! Pictures of others: a file's content tells what it is, whatever its name, and a damaged one is refused.
//!
//! Pixels are those of Pillow's `Image.open(path).convert("RGB")`, as evaluation scripts of the field read them: alpha is
//! dropped and not composed, an orientation in EXIF is not applied, 16 bits a channel keep the upper 8. Of grey with 16 bits
//! Pillow makes white; it is refused.

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Pixel, RgbImage};

use crate::{Image, ImageError};

/// Bytes that tell a format.
const HEAD: u64 = 32;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// PNG or JPEG.
    Readable,
    /// A picture of another format, by name.
    Other(&'static str),
    /// No picture.
    None,
}

impl PictureKind {
    /// Of the file in `path`, by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(path: &Path) -> Result<Self, ImageError> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map_err(unreadable(path))?;
        Ok(Self::of_bytes(&head))
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        match image::guess_format(bytes) {
            Ok(ImageFormat::Png | ImageFormat::Jpeg) => Self::Readable,
            Ok(ImageFormat::WebP) => Self::Other("WebP"),
            Ok(ImageFormat::Gif) => Self::Other("GIF"),
            Ok(ImageFormat::Tiff) => Self::Other("TIFF"),
            Ok(ImageFormat::Avif) => Self::Other("AVIF"),
            // Two letters are no proof: a text may begin with them.
            Ok(ImageFormat::Bmp) if bytes.contains(&0) => Self::Other("BMP"),
            _ => Self::None,
        }
    }
}

impl Image {
    /// Reads a PNG or JPEG file, told by its content.
    ///
    /// # Errors
    /// When the file cannot be read, is another kind of file, or is damaged.
    pub fn from_file(path: &Path) -> Result<Self, ImageError> {
        let bytes = fs::read(path).map_err(unreadable(path))?;
        let refused = |reason: String| ImageError::Picture {
            path: path.to_owned(),
            reason,
        };
        let pixels = match PictureKind::of_bytes(&bytes) {
            PictureKind::Readable => decoded(&bytes).map_err(refused)?,
            PictureKind::Other(format) => {
                return Err(refused(format!(
                    "is {format}, and only PNG and JPEG are read: convert it to PNG"
                )));
            }
            PictureKind::None => {
                return Err(refused(
                    "is neither PNG nor JPEG: remove it, or put a whole copy back".to_owned(),
                ));
            }
        };
        Self::from_rgb8(
            pixels.width() as usize,
            pixels.height() as usize,
            pixels.as_raw(),
        )
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Unreadable { path, source }
}

/// The pixels of a PNG or JPEG, or what is wrong with it.
fn decoded(bytes: &[u8]) -> Result<RgbImage, String> {
    let damaged = |what: &dyn std::fmt::Display| {
        format!("is damaged ({what}): put a whole copy back, or remove it")
    };
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let decoded = reader
        .map_err(::image::ImageError::from)
        .and_then(ImageReader::decode);
    let picture = decoded.map_err(|error| damaged(&error))?;
    // The decoder fills what is missing of a JPEG with grey.
    if bytes.starts_with(&[0xFF, 0xD8]) && !is_whole_jpeg(bytes) {
        return Err(damaged(&"it is cut short"));
    }
    match picture {
        DynamicImage::ImageRgb16(pixels) => Ok(upper_bits(&pixels)),
        DynamicImage::ImageRgba16(pixels) => Ok(upper_bits(&pixels)),
        DynamicImage::ImageLumaA16(pixels) => Ok(upper_bits(&pixels)),
        DynamicImage::ImageLuma16(_) => Err(
            "is grey with 16 bits, which other tools read as white: convert it to 8 bits"
                .to_owned(),
        ),
        other => Ok(other.into_rgb8()),
    }
}

/// The upper 8 bits of the colours.
fn upper_bits<P: Pixel<Subpixel = u16>>(pixels: &ImageBuffer<P, Vec<u16>>) -> RgbImage {
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let channels = pixels.get_pixel(x, y).channels();
        let color = |index: usize| channels[if channels.len() < 3 { 0 } else { index }];
        image::Rgb([0, 1, 2].map(|index| (color(index) >> 8) as u8))
    })
}

/// Whether the segments of a JPEG reach its end marker. A preview within has markers of its own, so segments are followed.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    let mut place = 2;
    loop {
        // To the next marker: `FF` and neither a stuffed zero, a fill byte nor a restart.
        let found = bytes[place.min(bytes.len())..]
            .windows(2)
            .position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF | 0xD0..=0xD7));
        let Some(skipped) = found else {
            return false;
        };
        let marker = place + skipped;
        match bytes[marker + 1] {
            END => return true,
            code => {
                let Some(length) = bytes.get(marker + 2..marker + 4) else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                place = marker + 2 + length;
                if code != SCAN && place > bytes.len() {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
    }

    /// The error of a file `name` with `bytes`.
    fn refused(name: &str, bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("writable");
        let error = Image::from_file(&path).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
        error
    }

    /// `tools/peer/pictures.py` made them with Pillow.
    #[test]
    fn pixels_are_those_of_pillow() {
        for (name, tolerance) in [
            ("palette.png", 0.0),
            ("grey-alpha.png", 0.0),
            ("deep.png", 0.0),
            // Other rounding in the decoder's cosine transform and colours.
            ("turned.jpg", 3.0),
            ("cmyk.jpg", 3.0),
        ] {
            let path = fixtures().join(name);
            let found = Image::from_file(&path).expect("readable");
            let stem = path.file_stem().expect("a name").to_string_lossy();
            let expected = fixtures().join(format!("{stem}-rgb.png"));
            let expected = Image::from_file(&expected).expect("readable");
            assert_eq!(
                (found.width, found.height),
                (expected.width, expected.height),
                "{name}"
            );
            let pairs = found.data.iter().zip(&expected.data);
            let largest = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(largest * 255.0 < tolerance + 0.01, "{name}: {largest}");
        }
    }

    #[test]
    fn the_content_tells_what_a_file_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let image = Image::filled(3, 2, [0.2, 0.4, 0.6]);
        let path = dir.path().join("png.jpg");
        fs::write(&path, image.png(&[])).expect("writable");
        assert_eq!(Image::from_file(&path).expect("a PNG"), image);
        for (name, head, format) in [
            ("a.png", &b"RIFF\x7a\0\0\0WEBPVP8 "[..], "is WebP"),
            ("b.jpg", b"GIF89a\x01\0\x01\0", "is GIF"),
            ("c.png", b"II*\0\x08\0\0\0", "is TIFF"),
            ("d.png", b"BM\x36\0\0\0\0\0\0\0", "is BMP"),
            ("e.png", b"BMW, a car\n", "is neither PNG nor JPEG"),
            ("f.png", b"version https://git-lfs", "is neither PNG nor"),
            ("g.png", b"", "is neither PNG nor JPEG"),
        ] {
            let error = refused(name, head);
            assert!(error.contains(format), "{error}");
        }
    }

    #[test]
    fn damaged_pictures_are_refused_wherever_they_end() {
        let jpeg = fs::read(fixtures().join("turned.jpg")).expect("there");
        let png = Image::filled(9, 7, [0.2, 0.4, 0.6]).png(&[]);
        for (name, whole) in [("a.jpg", jpeg), ("a.png", png)] {
            // The last four bytes of a PNG are a checksum that no pixel hangs on.
            for length in (12..whole.len() - 12).step_by(7) {
                let error = refused(name, &whole[..length]);
                assert!(error.contains("is damaged ("), "{length}: {error}");
            }
        }
        let mut flipped = Image::filled(9, 7, [0.2, 0.4, 0.6]).png(&[]);
        let middle = flipped.len() / 2;
        flipped[middle] ^= 4;
        assert!(refused("b.png", &flipped).contains("is damaged ("));
    }

    #[test]
    fn deep_grey_is_refused() {
        let mut file = Vec::new();
        let pixels = ImageBuffer::<image::Luma<u16>, _>::from_pixel(2, 2, image::Luma([300]));
        DynamicImage::ImageLuma16(pixels)
            .write_to(&mut Cursor::new(&mut file), ImageFormat::Png)
            .expect("memory takes any image");
        assert!(refused("deep.png", &file).contains("convert it to 8 bits"));
    }
}
