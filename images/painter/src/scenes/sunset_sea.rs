//! Landscape: sunset over the sea.

use super::sky;
use crate::paint::colour::{Colour, hex, sample_gradient};
use crate::paint::math::{lerp, smooth_step};
use crate::paint::{Canvas, Path, Random, noise, point};

pub fn paint_sunset_sea(canvas: &mut Canvas, random: &mut Random) {
    let hour = sky::random_evening(random);
    let horizon = random.float_between(0.50, 0.64);
    let width = canvas.width();
    let cover = random.float_between(0.1, 0.6);
    sky::paint_sky(canvas, random, &hour, horizon, cover);
    let radius = random.float_between(0.042, 0.07);
    let sun = point(
        width * random.float_between(0.25, 0.75),
        horizon - radius * random.float_between(0.3, 2.6),
    );
    sky::paint_sun(canvas, &hour, sun, radius);
    let dark = hour.zenith.mix_with(hex(0x141a33), 0.55);
    paint_islands(
        canvas,
        random,
        horizon,
        hour.shade.mix_with(hour.horizon, 0.25),
        dark,
    );
    paint_sea(canvas, random, &hour, horizon, sun.x);
    if random.next_bool(0.6) {
        let at = point(
            width * random.float_between(0.15, 0.85),
            horizon + random.float_between(0.06, 0.16),
        );
        let size = 0.05 + (at.y - horizon) * 0.55;
        paint_boat(canvas, random, at, size, dark);
    }
    let flock = point(
        width * random.float_between(0.2, 0.8),
        random.float_between(0.14, 0.32),
    );
    sky::paint_birds(canvas, random, flock, dark);
    if random.next_bool(0.45) {
        paint_shore(canvas, random, dark);
    }
}

fn paint_islands(
    canvas: &mut Canvas,
    random: &mut Random,
    horizon: f32,
    far: Colour,
    near: Colour,
) {
    let width = canvas.width();
    for (i, tone) in [far, far.mix_with(near, 0.55)].into_iter().enumerate() {
        if random.next_bool(0.3) {
            continue;
        }
        let seed = random.next_u64();
        let centre = width * random.float_between(0.0, 1.0);
        let reach = random.float_between(0.25, 0.5);
        let height = random.float_between(0.05, 0.10) / (1.0 + i as f32 * 0.5);
        let ridge = Path::area_under(-0.05, width + 0.05, horizon + 0.002, |x| {
            let bulge = smooth_step(reach, 0.0, (x - centre).abs());
            let rough = noise::layered_noise(x * 6.0, 1.0, 4, seed);
            horizon + 0.003 - height * bulge * (0.55 + 0.9 * rough)
        });
        canvas.fill_path(&ridge, tone);
    }
}

/// Paints the water: the mirrored colours of the sky, broken by waves, and the sun's glitter.
fn paint_sea(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, horizon: f32, sun_x: f32) {
    let seed = random.next_u64();
    let width = canvas.width();
    let water = Path::rectangle(-0.1, horizon, width + 0.1, 1.1);
    let deep = hour.zenith.mix_with(hex(0x10203a), 0.45);
    canvas.paint_path(&water, |place| {
        let t = (place.y - horizon) / (1.0 - horizon);
        let colour = sample_gradient(
            &[
                (0.0, hour.horizon.mix_with(hour.middle, 0.35)),
                (0.25, hour.middle.mix_with(deep, 0.30)),
                (1.0, deep),
            ],
            t,
        );
        // Waves are long and thin, and larger towards the viewer.
        let depth = 1.0 / (t + 0.06);
        let wave = noise::layered_noise(
            place.x * (9.0 + 2.2 * depth),
            depth * 9.0 - t * 24.0,
            4,
            seed,
        );
        let crest = smooth_step(0.52, 0.68, wave);
        let trough = smooth_step(0.50, 0.34, wave);
        let path = smooth_step(0.05 + 0.26 * t, 0.0, (place.x - sun_x).abs());
        let spark = smooth_step(0.50, 0.60, wave) * path;
        colour
            .mix_with(hour.horizon, 0.20 * crest * (1.0 - 0.6 * t))
            .scale_by(1.0 - 0.16 * trough)
            .mix_with(hour.sun, (0.85 * spark).min(0.9) * lerp(1.0, 0.7, t))
    });
}

fn paint_boat(
    canvas: &mut Canvas,
    random: &mut Random,
    at: crate::paint::Point,
    size: f32,
    dark: Colour,
) {
    let facing = random.next_sign();
    let place = |x: f32, y: f32| at + point(x * facing, y) * size;
    let hull = Path::smooth_closed(&[
        place(-0.75, -0.16),
        place(0.0, -0.12),
        place(0.85, -0.20),
        place(0.55, 0.06),
        place(-0.55, 0.06),
    ]);
    let sail = Path::polygon(&[place(0.05, -1.75), place(0.05, -0.24), place(0.78, -0.28)]);
    let jib = Path::polygon(&[
        place(-0.03, -1.55),
        place(-0.03, -0.24),
        place(-0.62, -0.26),
    ]);
    // The dark reflection below.
    canvas.cast_shadow(
        &Path::ellipse(place(0.05, 0.22), size * 0.7, size * 0.14, 0.0),
        point(0.0, 0.0),
        size * 0.1,
        0.6,
    );
    let cloth = random.choose_from(&[hex(0xfbeedd), hex(0xf2c79b), hex(0xd96f52)]);
    canvas.fill_path(&sail, cloth.mix_with(dark, 0.12));
    canvas.fill_path(&jib, cloth.mix_with(dark, 0.26));
    canvas.fill_path(
        &Path::stroked_line(
            &[place(0.01, -1.8), place(0.01, -0.1)],
            size * 0.02,
            size * 0.02,
        ),
        dark,
    );
    canvas.fill_path(&hull, dark);
}

/// Paints a dark shore with grasses in a corner of the foreground.
fn paint_shore(canvas: &mut Canvas, random: &mut Random, dark: Colour) {
    let width = canvas.width();
    let from_left = random.next_bool(0.5);
    let seed = random.next_u64();
    let land = Path::area_under(-0.05, width + 0.05, 1.1, |x| {
        let t = if from_left {
            x / width
        } else {
            1.0 - x / width
        };
        0.84 + 0.34 * t + 0.03 * noise::layered_noise(x * 7.0, 0.0, 3, seed)
    });
    let tone = dark.scale_by(0.62);
    canvas.fill_path(&land, tone);
    for _ in 0..46 {
        let t = random.next_fraction() * random.next_fraction() * 0.42;
        let x = if from_left {
            t * width
        } else {
            width - t * width
        };
        let root = point(x, 0.90 + 0.34 * t);
        let lean = random.float_around(0.05) + 0.015;
        let tall = random.float_between(0.06, 0.16) * (1.0 - t);
        let blade = [
            root,
            root + point(lean * 0.3, -tall * 0.6),
            root + point(lean, -tall),
        ];
        canvas.fill_path(&Path::stroked_line(&blade, 0.0032, 0.0008), tone);
    }
}
