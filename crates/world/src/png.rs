//! Images as PNG files, with what made them.

use std::{fs, path::Path};

use crate::{Image, WorldError};

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

    /// Writes [`Self::png`] without text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn to_png(&self, path: &Path) -> Result<(), WorldError> {
        fs::write(path, self.png(&[])).map_err(|source| WorldError::File {
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
        let reader = png::Decoder::new(std::io::Cursor::new(bytes))
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
    }
}
