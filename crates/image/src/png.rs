//! Images as PNG files, with what made them, and as JPEG files.

use std::{fs, io::Cursor, path::Path};

use image::ImageEncoder as _;

use crate::{Image, ImageError};

impl Image {
    /// A PNG file of 8 bits a channel. `text` is pairs of a keyword (at most 79 characters of Latin-1) and what it says, which
    /// viewers and `PIL.Image.info` show.
    ///
    /// # Panics
    /// With a keyword that PNG does not allow.
    pub fn png(&self, text: &[(&str, &str)]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        for (keyword, text) in text {
            encoder
                .add_itxt_chunk((*keyword).to_owned(), (*text).to_owned())
                .expect("text chunks come before the image");
        }
        let mut writer = encoder.write_header().expect("memory takes any image");
        writer
            .write_image_data(&self.to_rgb8())
            .expect("as many bytes as the header says");
        writer.finish().expect("memory takes any image");
        file
    }

    /// Whether `file`, the bytes of one, is a PNG with text behind `keyword`, as [`Self::png`] writes it.
    pub fn has_png_text(file: &[u8], keyword: &str) -> bool {
        let reader = png::Decoder::new(Cursor::new(file)).read_info();
        reader.is_ok_and(|reader| {
            let mut texts = reader.info().utf8_text.iter();
            texts.any(|text| text.keyword == keyword)
        })
    }

    /// A JPEG file of high quality, without text.
    ///
    /// # Errors
    /// A side of more than 65535 pixels, the most that JPEG has.
    pub fn jpeg(&self) -> Result<Vec<u8>, ::image::ImageError> {
        const QUALITY: u8 = 95;
        let mut file = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, QUALITY);
        encoder.write_image(
            &self.to_rgb8(),
            width,
            height,
            image::ExtendedColorType::Rgb8,
        )?;
        Ok(file)
    }

    /// Writes [`Self::png`] without text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn to_png(&self, path: &Path) -> Result<(), ImageError> {
        fs::write(path, self.png(&[])).map_err(|source| ImageError::File {
            path: path.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pixels_come_back() {
        let image = Image::filled(3, 2, [0.2, 0.4, 0.6]);
        let bytes = image.png(&[("parameters", "ein Apfel, grün"), ("dmdr", "{}")]);
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("image.png");
        fs::write(&path, &bytes).expect("writable");
        assert_eq!(Image::from_file(&path).expect("a PNG"), image);
        let reader = png::Decoder::new(Cursor::new(&bytes))
            .read_info()
            .expect("a header");
        let text: Vec<(String, String)> = reader
            .info()
            .utf8_text
            .iter()
            .map(|chunk| (chunk.keyword.clone(), chunk.get_text().expect("UTF-8")))
            .collect();
        assert_eq!(text[0], ("parameters".into(), "ein Apfel, grün".into()));
        assert_eq!(text[1].0, "dmdr");
        assert!(Image::has_png_text(&bytes, "dmdr") && !Image::has_png_text(&bytes, "other"));
        assert!(!Image::has_png_text(b"no picture", "dmdr"));
        let jpeg = image.jpeg().expect("a small image");
        assert_eq!(jpeg[..3], [0xff, 0xd8, 0xff]);
        let path = dir.path().join("image.jpg");
        fs::write(&path, &jpeg).expect("writable");
        let back = Image::from_file(&path).expect("a JPEG");
        let far = back
            .data
            .iter()
            .zip(&image.data)
            .map(|(a, b)| (a - b).abs());
        assert!(far.fold(0.0, f32::max) < 0.02, "{back:?}");
    }
}
