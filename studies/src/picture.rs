//! Pictures of a study: arms below each other.

use dmdr_image::Image;

use crate::plane::Histogram;
use crate::plane::mixture::Point;

/// Squares of a panel on a side, and pixels a square.
const BINS: usize = 64;
const ENLARGED: usize = 3;
/// White space between panels.
const MARGIN: usize = 6;

/// A row of samples for each arm, enlarged.
pub(crate) fn samples(rows: &[Vec<Image>]) -> Image {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let images: Vec<Image> = rows.iter().flatten().map(Image::viewable).collect();
    Image::grid(&images, columns)
}

/// Densities on the plane, one row of panels per row of samples, time from left to right; dark is dense.
pub(crate) fn densities(rows: &[Vec<Vec<Point>>]) -> Image {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let panel = BINS * ENLARGED;
    let side = |count: usize| count * (panel + MARGIN) + MARGIN;
    let mut picture = Image::filled(side(columns), side(rows.len()), [1.0; 3]);
    for (row, panels) in rows.iter().enumerate() {
        for (column, points) in panels.iter().enumerate() {
            let origin = |index: usize| MARGIN + index * (panel + MARGIN);
            draw(&mut picture, points, origin(column), origin(row));
        }
    }
    picture
}

fn draw(picture: &mut Image, points: &[Point], left: usize, top: usize) {
    let histogram = Histogram::new(points, BINS);
    // Full black where three times the mean of a spread over a tenth of the panel lies.
    let full = 30.0 * points.len() as f64 / (BINS * BINS) as f64;
    for (y, counts) in histogram.rows().enumerate() {
        for (x, &count) in counts.iter().enumerate() {
            let ink = (f64::from(count) / full).min(1.0).sqrt();
            let shade = (0.96 * (1.0 - ink)) as f32;
            for (dx, dy) in (0..ENLARGED * ENLARGED).map(|i| (i % ENLARGED, i / ENLARGED)) {
                let place = (left + x * ENLARGED + dx, top + y * ENLARGED + dy);
                picture.set_pixel(place.0, place.1, [shade; 3]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_places_are_dark_and_up_is_up() {
        let corner = vec![[0.9, 0.9]; 50];
        let picture = densities(&[vec![corner, Vec::new()]]);
        assert_eq!(picture.width, 2 * 192 + 3 * 6);
        let at = |x: usize, y: usize| picture.pixel(x, y)[0];
        let dark = (6..198)
            .flat_map(|y| (6..198).map(move |x| (x, y)))
            .filter(|&(x, y)| at(x, y) < 0.2)
            .collect::<Vec<_>>();
        assert_eq!(dark.len(), 9, "one square");
        assert!(dark.iter().all(|&(x, y)| x > 150 && y < 50), "top right");
    }
}
