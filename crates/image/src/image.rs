//! Plain RGB images, channels first, as the models see them.

use crate::ImageError;

/// An RGB image, `[3, height, width]` row by row, values in `[0, 1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[3, height, width]`, values in `[0, 1]`.
    pub data: Vec<f32>,
}

impl Image {
    /// An image of one colour.
    pub fn filled(width: usize, height: usize, color: [f32; 3]) -> Self {
        let data = color
            .iter()
            .flat_map(|&value| std::iter::repeat_n(value, width * height))
            .collect();
        Self {
            width,
            height,
            data,
        }
    }

    /// Takes `[3, height, width]` values in `[0, 1]`.
    ///
    /// # Errors
    /// When the number of values does not fit the size.
    pub fn from_chw(width: usize, height: usize, data: Vec<f32>) -> Result<Self, ImageError> {
        if data.len() == 3 * width * height {
            Ok(Self {
                width,
                height,
                data,
            })
        } else {
            Err(ImageError::PixelCount {
                width,
                height,
                got: data.len(),
            })
        }
    }

    /// Takes `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// When the number of bytes does not fit the size.
    pub fn from_rgb8(width: usize, height: usize, bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.len() != 3 * width * height {
            return Err(ImageError::PixelCount {
                width,
                height,
                got: bytes.len(),
            });
        }
        let plane = |channel: usize| {
            bytes
                .iter()
                .skip(channel)
                .step_by(3)
                .map(|&byte| f32::from(byte) / 255.0)
        };
        Ok(Self {
            width,
            height,
            data: (0..3).flat_map(plane).collect(),
        })
    }

    /// `[height, width, 3]` bytes; values outside `[0, 1]` are clamped.
    pub fn to_rgb8(&self) -> Vec<u8> {
        let area = self.width * self.height;
        (0..area)
            .flat_map(|at| (0..3).map(move |channel| channel * area + at))
            .map(|at| (self.data[at].clamp(0.0, 1.0) * 255.0).round() as u8)
            .collect()
    }

    /// Colour of the pixel in column `x` of row `y`.
    pub fn pixel(&self, x: usize, y: usize) -> [f32; 3] {
        let area = self.width * self.height;
        let at = y * self.width + x;
        [
            self.data[at],
            self.data[area + at],
            self.data[2 * area + at],
        ]
    }

    /// Sets the pixel in column `x` of row `y`.
    pub fn set_pixel(&mut self, x: usize, y: usize, color: [f32; 3]) {
        let area = self.width * self.height;
        let at = y * self.width + x;
        for (channel, value) in color.into_iter().enumerate() {
            self.data[channel * area + at] = value;
        }
    }

    /// Small images enlarged so that a person sees their pixels; those of more than 64 pixels as they are.
    #[must_use]
    pub fn viewable(&self) -> Self {
        self.enlarge(if self.width.max(self.height) > 64 {
            1
        } else {
            4
        })
    }

    /// Every pixel repeated `factor` times in both directions, so that small images can be looked at.
    #[must_use]
    pub fn enlarge(&self, factor: usize) -> Self {
        let mut large = Self::filled(self.width * factor, self.height * factor, [0.0; 3]);
        for y in 0..large.height {
            for x in 0..large.width {
                large.set_pixel(x, y, self.pixel(x / factor, y / factor));
            }
        }
        large
    }

    /// Images side by side, `columns` in a row, on white with a margin of 2 pixels. Cells are as large as the largest image.
    #[must_use]
    pub fn grid(images: &[Self], columns: usize) -> Self {
        Self::laid_out(images, columns, 2)
    }

    /// Equally large images edge to edge, `columns` in a row.
    ///
    /// # Panics
    /// If they differ in size, or do not fill the last row.
    #[must_use]
    pub fn tiled(images: &[Self], columns: usize) -> Self {
        assert!(images.len().is_multiple_of(columns), "full rows");
        let size = |image: &Self| (image.width, image.height);
        assert!(
            images.iter().all(|image| size(image) == size(&images[0])),
            "one size"
        );
        Self::laid_out(images, columns, 0)
    }

    fn laid_out(images: &[Self], columns: usize, margin: usize) -> Self {
        let columns = columns.max(1);
        let cell_width = images.iter().map(|image| image.width).max().unwrap_or(0) + margin;
        let cell_height = images.iter().map(|image| image.height).max().unwrap_or(0) + margin;
        let rows = images.len().div_ceil(columns);
        let mut sheet = Self::filled(
            columns * cell_width + margin,
            rows * cell_height + margin,
            [1.0; 3],
        );
        for (index, image) in images.iter().enumerate() {
            let (left, top) = (
                index % columns * cell_width + margin,
                index / columns * cell_height + margin,
            );
            for y in 0..image.height {
                for x in 0..image.width {
                    sheet.set_pixel(left + x, top + y, image.pixel(x, y));
                }
            }
        }
        sheet
    }

    /// The pieces of [`Self::tiled`].
    ///
    /// # Panics
    /// If the image does not divide into `columns` and `rows`.
    #[must_use]
    pub fn tiles(&self, columns: usize, rows: usize) -> Vec<Self> {
        assert!(
            self.width.is_multiple_of(columns) && self.height.is_multiple_of(rows),
            "equally large pieces"
        );
        let (width, height) = (self.width / columns, self.height / rows);
        (0..columns * rows)
            .map(|index| {
                let (left, top) = (index % columns * width, index / columns * height);
                let mut tile = Self::filled(width, height, [0.0; 3]);
                for y in 0..height {
                    for x in 0..width {
                        tile.set_pixel(x, y, self.pixel(left + x, top + y));
                    }
                }
                tile
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_what_was_tiled() {
        let images = [0.1, 0.2, 0.3, 0.4].map(|grey| Image::filled(3, 2, [grey; 3]));
        let sheet = Image::tiled(&images, 2);
        assert_eq!((sheet.width, sheet.height), (6, 4));
        assert_eq!(sheet.tiles(2, 2), images);
    }

    #[test]
    fn bytes_survive_the_round_trip() {
        let bytes: Vec<u8> = (0..5 * 4 * 3).map(|value| (value * 4) as u8).collect();
        let image = Image::from_rgb8(5, 4, &bytes).expect("the size fits");
        assert_eq!(image.to_rgb8(), bytes);
        assert!((image.pixel(1, 0)[2] - 20.0 / 255.0).abs() < 1e-6);
    }

    #[test]
    fn a_wrong_number_of_values_is_an_error() {
        assert!(matches!(
            Image::from_rgb8(5, 4, &[0; 59]),
            Err(ImageError::PixelCount { got: 59, .. })
        ));
        assert!(matches!(
            Image::from_chw(5, 4, vec![0.0; 61]),
            Err(ImageError::PixelCount { got: 61, .. })
        ));
    }

    #[test]
    fn a_grid_keeps_every_image() {
        let images = [
            Image::filled(3, 2, [0.0; 3]),
            Image::filled(3, 2, [0.5; 3]),
            Image::filled(3, 2, [0.25; 3]),
        ];
        let sheet = Image::grid(&images, 2);
        assert_eq!((sheet.width, sheet.height), (2 * 5 + 2, 2 * 4 + 2));
        assert_eq!(
            (
                sheet.pixel(2, 2)[0],
                sheet.pixel(7, 2)[0],
                sheet.pixel(2, 6)[0]
            ),
            (0.0, 0.5, 0.25)
        );
        assert_eq!(sheet.to_rgb8()[..3], [255; 3]);
    }

    #[test]
    fn png_files_survive_the_round_trip() {
        let path = std::env::temp_dir().join(format!("dmdr-world-{}.png", std::process::id()));
        let image = Image::filled(4, 3, [0.0, 1.0, 128.0 / 255.0]).enlarge(2);
        image
            .to_png(&path)
            .expect("a temporary file can be written");
        let read = Image::from_file(&path).expect("it was just written");
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(read, image);
    }
}
