//! Skies: a gradient, the sun, and lit clouds.

use crate::paint::colour::{Colour, hex, rgb, sample_gradient};
use crate::paint::math::{lerp, smooth_step};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

/// The time of day, which decides every colour of a landscape.
#[derive(Debug, Clone, Copy)]
pub struct Hour {
    /// The sky at the zenith.
    pub zenith: Colour,
    /// The sky halfway down.
    pub middle: Colour,
    /// The sky at the horizon.
    pub horizon: Colour,
    pub sun: Colour,
    /// The lit side of clouds.
    pub cloud: Colour,
    /// The shaded side of clouds.
    pub shade: Colour,
    /// Multiplies the colours of the land.
    pub light: Colour,
}

/// Draws a time in bright daylight.
pub fn random_day(random: &mut Random) -> Hour {
    let clear = Hour {
        zenith: hex(0x3f86c9),
        middle: hex(0x7db6e3),
        horizon: hex(0xd4e9f2),
        sun: hex(0xfffbe6),
        cloud: hex(0xffffff),
        shade: hex(0xb9cbdc),
        light: rgb(1.0, 1.0, 0.97),
    };
    let morning = Hour {
        zenith: hex(0x6fa3d0),
        middle: hex(0xb9d3e4),
        horizon: hex(0xfbe3c4),
        sun: hex(0xfff1c9),
        cloud: hex(0xfff6ea),
        shade: hex(0xc9bfcf),
        light: rgb(1.04, 0.98, 0.88),
    };
    let afternoon = Hour {
        zenith: hex(0x5d8fc0),
        middle: hex(0xe0c9a6),
        horizon: hex(0xf8c987),
        sun: hex(0xffe9a8),
        cloud: hex(0xffe8c6),
        shade: hex(0xb99a94),
        light: rgb(1.10, 0.95, 0.76),
    };
    let grey = Hour {
        zenith: hex(0x8fa1b3),
        middle: hex(0xb4c0c9),
        horizon: hex(0xdde2e2),
        sun: hex(0xf4f4ee),
        cloud: hex(0xeceff0),
        shade: hex(0x97a3ae),
        light: rgb(0.90, 0.94, 0.97),
    };
    random.choose_from(&[clear, clear, morning, afternoon, grey])
}

/// Draws a time with a low sun.
pub fn random_evening(random: &mut Random) -> Hour {
    let orange = Hour {
        zenith: hex(0x35457f),
        middle: hex(0xd9775a),
        horizon: hex(0xffc567),
        sun: hex(0xfff0b0),
        cloud: hex(0xff9a5c),
        shade: hex(0x70486f),
        light: rgb(0.95, 0.66, 0.52),
    };
    let rose = Hour {
        zenith: hex(0x4d5ba6),
        middle: hex(0xd58aa9),
        horizon: hex(0xffd2b0),
        sun: hex(0xfff2dc),
        cloud: hex(0xffa9ad),
        shade: hex(0x7c6299),
        light: rgb(0.90, 0.72, 0.76),
    };
    let gold = Hour {
        zenith: hex(0x6d89a8),
        middle: hex(0xf0bf72),
        horizon: hex(0xffe49a),
        sun: hex(0xfffbe0),
        cloud: hex(0xffdf9b),
        shade: hex(0xa88270),
        light: rgb(1.02, 0.84, 0.56),
    };
    let violet = Hour {
        zenith: hex(0x1f2353),
        middle: hex(0x6b3f86),
        horizon: hex(0xf0806a),
        sun: hex(0xffd9a0),
        cloud: hex(0xd9658a),
        shade: hex(0x3b2c63),
        light: rgb(0.70, 0.52, 0.66),
    };
    random.choose_from(&[orange, rose, gold, violet])
}

/// Paints the sky down to `horizon`, the same colour below it, and the clouds; `cover` 0…1 is the cloudiness.
pub fn paint_sky(canvas: &mut Canvas, random: &mut Random, hour: &Hour, horizon: f32, cover: f32) {
    let seed = random.next_u64();
    let stretch = random.float_between(2.2, 3.4);
    canvas.paint_all(|place| {
        let t = (place.y / horizon).min(1.0);
        let sky = sample_gradient(
            &[(0.0, hour.zenith), (0.55, hour.middle), (1.0, hour.horizon)],
            t,
        );
        // Clouds get denser and flatter towards the horizon.
        let depth = 1.0 / (1.12 - t).max(0.12);
        let (x, y) = (place.x * depth.min(3.0) * 1.6, depth * stretch);
        let bank = noise::layered_noise(x, y, 5, seed);
        let above = noise::layered_noise(x, y - 0.16, 5, seed);
        let thick = smooth_step(0.66 - 0.30 * cover, 0.86 - 0.26 * cover, bank);
        let lit = (0.55 + (bank - above) * 3.0).clamp(0.0, 1.0);
        sky.mix_with(
            hour.shade.mix_with(hour.cloud, lit),
            thick * lerp(0.85, 0.25, t),
        )
    });
}

/// Paints the sun's disc and its glow.
pub fn paint_sun(canvas: &mut Canvas, hour: &Hour, centre: Point, radius: f32) {
    canvas.add_glow(centre, radius * 9.0, hour.sun, 0.55);
    canvas.add_glow(centre, radius * 3.5, hour.sun, 0.60);
    let mask = canvas
        .rasterise_path(&Path::circle(centre, radius))
        .blur_by(0.003 * canvas.scale());
    canvas.blend_mask(&mask, |_, below| below.mix_with(hour.sun, 0.97));
}

/// Paints a fair-weather cloud around `centre`.
pub fn paint_cloud(
    canvas: &mut Canvas,
    random: &mut Random,
    hour: &Hour,
    centre: Point,
    size: f32,
) {
    let count = random.int_between(5, 8);
    let mut shape = Path::default();
    for i in 0..count {
        let t = (i as f32 + 0.5) / count as f32 * 2.0 - 1.0;
        let radius = size * (0.30 + 0.28 * (1.0 - t * t)) * random.float_between(0.8, 1.15);
        shape = shape.union_with(Path::ellipse(
            centre + point(t * size * 1.1, -radius * 0.55),
            radius * 1.15,
            radius,
            0.0,
        ));
    }
    let floor = Path::rectangle(-9.0, -9.0, 9.0, centre.y);
    let mask = canvas
        .rasterise_path(&shape)
        .intersect_with(
            &canvas
                .rasterise_path(&floor)
                .blur_by(size * 0.05 * canvas.scale()),
        )
        .blur_by(size * 0.035 * canvas.scale());
    canvas.blend_mask(&mask, |place, below| {
        let up = (centre.y - place.y) / size;
        below.mix_with(
            hour.shade
                .mix_with(hour.cloud, smooth_step(-0.05, 0.55, up)),
            0.93,
        )
    });
}

/// Paints a few distant birds.
pub fn paint_birds(canvas: &mut Canvas, random: &mut Random, around: Point, colour: Colour) {
    for _ in 0..random.int_between(2, 6) {
        let at = around + point(random.float_around(0.22), random.float_around(0.08));
        let span = random.float_between(0.010, 0.019);
        let flap = random.float_between(0.2, 0.6);
        for side in [-1.0, 1.0] {
            let wing = [
                at,
                at + point(side * span * 0.5, -span * flap),
                at + point(side * span, -span * flap * 0.5),
            ];
            canvas.fill_path(&Path::stroked_line(&wing, 0.0022, 0.0009), colour);
        }
    }
}
