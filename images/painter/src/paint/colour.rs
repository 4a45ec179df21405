//! Colours, chosen by lightness, chroma and hue (OKLCH) so that palettes look even.

use super::math::{cos, lerp, sin};

/// A gamma-encoded sRGB colour, each channel 0…1. Shading may leave that range; the canvas clamps at the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Colour {
    pub r: f32,
    pub g: f32,
    pub b: f32,
}

pub const WHITE: Colour = rgb(1.0, 1.0, 1.0);
pub const BLACK: Colour = rgb(0.0, 0.0, 0.0);

pub const fn rgb(r: f32, g: f32, b: f32) -> Colour {
    Colour { r, g, b }
}

/// Returns the colour of `0xRRGGBB`, with channels 0…1.
pub fn hex(value: u32) -> Colour {
    let part = |shift: u32| ((value >> shift) & 0xff) as f32 / 255.0;
    rgb(part(16), part(8), part(0))
}

/// Converts OKLCH: lightness 0…1, chroma 0…about 0.37, hue in degrees (30 red, 70 orange, 110 yellow,
/// 145 green, 195 cyan, 255 blue, 300 violet, 350 pink). Colours outside sRGB are clamped.
pub fn oklch(lightness: f32, chroma: f32, hue: f32) -> Colour {
    let angle = hue * (std::f32::consts::PI / 180.0);
    let (a, b) = (chroma * cos(angle), chroma * sin(angle));
    let cube = |x: f32| x * x * x;
    let l = cube(lightness + 0.396_337_78 * a + 0.215_803_76 * b);
    let m = cube(lightness - 0.105_561_346 * a - 0.063_854_17 * b);
    let s = cube(lightness - 0.089_484_18 * a - 1.291_485_5 * b);
    rgb(
        encode_gamma(4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s),
        encode_gamma(-1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s),
        encode_gamma(-0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s),
    )
}

/// Applies the sRGB gamma to linear light. The curve is fitted with square roots only, which are exact on
/// every machine; it differs from the standard's by less than 0.006.
fn encode_gamma(linear: f32) -> f32 {
    let x = linear.clamp(0.0, 1.0);
    if x < 0.003_130_8 {
        return 12.92 * x;
    }
    let root = x.sqrt();
    let fourth = root.sqrt();
    let eighth = fourth.sqrt();
    (0.662_002_7 * root + 0.684_122 * fourth - 0.323_583_6 * eighth - 0.022_541_147 * x)
        .clamp(0.0, 1.0)
}

impl Colour {
    /// Interpolates towards `other`; `t` 1 is `other`.
    pub fn mix_with(self, other: Colour, t: f32) -> Colour {
        rgb(
            lerp(self.r, other.r, t),
            lerp(self.g, other.g, t),
            lerp(self.b, other.b, t),
        )
    }

    /// Multiplies every channel by `factor`.
    pub fn scale_by(self, factor: f32) -> Colour {
        rgb(self.r * factor, self.g * factor, self.b * factor)
    }

    /// Multiplies channel by channel, as coloured light does.
    pub fn lit_by(self, light: Colour) -> Colour {
        rgb(self.r * light.r, self.g * light.g, self.b * light.b)
    }

    /// Adds light, as a highlight does.
    pub fn add_light(self, light: Colour) -> Colour {
        rgb(self.r + light.r, self.g + light.g, self.b + light.b)
    }

    pub fn mix_white(self, t: f32) -> Colour {
        self.mix_with(WHITE, t)
    }

    pub fn mix_black(self, t: f32) -> Colour {
        self.mix_with(BLACK, t)
    }
}

/// Returns the colour at `t` of a gradient whose stops are sorted by position. Beyond the ends it is the
/// colour of the nearest stop.
pub fn sample_gradient(stops: &[(f32, Colour)], t: f32) -> Colour {
    let mut last = stops[0];
    for &stop in stops {
        if t < stop.0 {
            if stop.0 <= last.0 {
                return stop.1;
            }
            return last.1.mix_with(stop.1, (t - last.0) / (stop.0 - last.0));
        }
        last = stop;
    }
    last.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_close_to_the_standard() {
        for step in 1..=1000 {
            let x = step as f32 / 1000.0;
            let exact = if x <= 0.003_130_8 {
                12.92 * x
            } else {
                1.055 * x.powf(1.0 / 2.4) - 0.055
            };
            assert!(
                (encode_gamma(x) - exact).abs() < 0.006,
                "{x}: {} {exact}",
                encode_gamma(x)
            );
        }
    }

    #[test]
    fn gradients_meet_their_stops() {
        let stops = [(0.2, BLACK), (0.8, WHITE)];
        assert_eq!(sample_gradient(&stops, 0.0), BLACK);
        assert_eq!(sample_gradient(&stops, 1.0), WHITE);
        assert!((sample_gradient(&stops, 0.5).r - 0.5).abs() < 1e-6);
    }
}
