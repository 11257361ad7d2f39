//! Tints: a ramp from dark over the colour to light.

/// The three stops of a tint, sRGB in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) dark: [f32; 3],
    pub(crate) middle: [f32; 3],
    pub(crate) light: [f32; 3],
}

/// Brightness of the dark stop relative to the colour.
const DARK: f32 = 0.5;
/// Way of the light stop from the colour to white.
const LIGHT: f32 = 0.55;

impl Ramp {
    /// The ramp around a colour.
    pub(crate) fn around(color: [f32; 3]) -> Self {
        Self {
            dark: color.map(|value| DARK * value),
            middle: color,
            light: color.map(|value| value + LIGHT * (1.0 - value)),
        }
    }
}
