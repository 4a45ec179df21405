//! Landscape: the sun going down over the sea.

use super::sky;
use crate::paint::colour::{Colour, gradient, hex};
use crate::paint::math::{lerp, smooth};
use crate::paint::{Canvas, Path, Random, noise, point};

/// Paints the scene.
pub fn paint(canvas: &mut Canvas, random: &mut Random) {
    let hour = sky::evening(random);
    let horizon = random.between(0.50, 0.64);
    let width = canvas.width();
    let cover = random.between(0.1, 0.6);
    sky::paint(canvas, random, &hour, horizon, cover);
    let radius = random.between(0.042, 0.07);
    let sun = point(
        width * random.between(0.25, 0.75),
        horizon - radius * random.between(0.3, 2.6),
    );
    sky::sun(canvas, &hour, sun, radius);
    let dark = hour.zenith.mix(hex(0x141a33), 0.55);
    islands(
        canvas,
        random,
        horizon,
        hour.shade.mix(hour.horizon, 0.25),
        dark,
    );
    sea(canvas, random, &hour, horizon, sun.x);
    if random.chance(0.6) {
        let at = point(
            width * random.between(0.15, 0.85),
            horizon + random.between(0.06, 0.16),
        );
        let size = 0.05 + (at.y - horizon) * 0.55;
        boat(canvas, random, at, size, dark);
    }
    let flock = point(width * random.between(0.2, 0.8), random.between(0.14, 0.32));
    sky::birds(canvas, random, flock, dark);
    if random.chance(0.45) {
        shore(canvas, random, dark);
    }
}

fn islands(canvas: &mut Canvas, random: &mut Random, horizon: f32, far: Colour, near: Colour) {
    let width = canvas.width();
    for (i, tone) in [far, far.mix(near, 0.55)].into_iter().enumerate() {
        if random.chance(0.3) {
            continue;
        }
        let seed = random.bits();
        let centre = width * random.between(0.0, 1.0);
        let reach = random.between(0.25, 0.5);
        let height = random.between(0.05, 0.10) / (1.0 + i as f32 * 0.5);
        let ridge = Path::under(-0.05, width + 0.05, horizon + 0.002, |x| {
            let bulge = smooth(reach, 0.0, (x - centre).abs());
            let rough = noise::layers(x * 6.0, 1.0, 4, seed);
            horizon + 0.003 - height * bulge * (0.55 + 0.9 * rough)
        });
        canvas.fill(&ridge, tone);
    }
}

/// Water: the sky's colours upside down, broken by waves, and the sun's path of glitter.
fn sea(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, horizon: f32, sun_x: f32) {
    let seed = random.bits();
    let width = canvas.width();
    let water = Path::rectangle(-0.1, horizon, width + 0.1, 1.1);
    let deep = hour.zenith.mix(hex(0x10203a), 0.45);
    canvas.paint(&water, |place| {
        let t = (place.y - horizon) / (1.0 - horizon);
        let colour = gradient(
            &[
                (0.0, hour.horizon.mix(hour.middle, 0.35)),
                (0.25, hour.middle.mix(deep, 0.30)),
                (1.0, deep),
            ],
            t,
        );
        // Waves are long and thin, and grow towards the viewer.
        let depth = 1.0 / (t + 0.06);
        let wave = noise::layers(
            place.x * (9.0 + 2.2 * depth),
            depth * 9.0 - t * 24.0,
            4,
            seed,
        );
        let crest = smooth(0.52, 0.68, wave);
        let trough = smooth(0.50, 0.34, wave);
        let path = smooth(0.05 + 0.26 * t, 0.0, (place.x - sun_x).abs());
        let spark = smooth(0.50, 0.60, wave) * path;
        colour
            .mix(hour.horizon, 0.20 * crest * (1.0 - 0.6 * t))
            .times(1.0 - 0.16 * trough)
            .mix(hour.sun, (0.85 * spark).min(0.9) * lerp(1.0, 0.7, t))
    });
}

fn boat(
    canvas: &mut Canvas,
    random: &mut Random,
    at: crate::paint::Point,
    size: f32,
    dark: Colour,
) {
    let facing = random.sign();
    let place = |x: f32, y: f32| at + point(x * facing, y) * size;
    let hull = Path::smooth(&[
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
    // Its dark reflection wavers below.
    canvas.shadow(
        &Path::ellipse(place(0.05, 0.22), size * 0.7, size * 0.14, 0.0),
        point(0.0, 0.0),
        size * 0.1,
        0.6,
    );
    let cloth = random.choose(&[hex(0xfbeedd), hex(0xf2c79b), hex(0xd96f52)]);
    canvas.fill(&sail, cloth.mix(dark, 0.12));
    canvas.fill(&jib, cloth.mix(dark, 0.26));
    canvas.fill(
        &Path::stroke(
            &[place(0.01, -1.8), place(0.01, -0.1)],
            size * 0.02,
            size * 0.02,
        ),
        dark,
    );
    canvas.fill(&hull, dark);
}

/// A dark shore with grasses in a corner, to look past.
fn shore(canvas: &mut Canvas, random: &mut Random, dark: Colour) {
    let width = canvas.width();
    let from_left = random.chance(0.5);
    let seed = random.bits();
    let land = Path::under(-0.05, width + 0.05, 1.1, |x| {
        let t = if from_left {
            x / width
        } else {
            1.0 - x / width
        };
        0.84 + 0.34 * t + 0.03 * noise::layers(x * 7.0, 0.0, 3, seed)
    });
    let tone = dark.times(0.62);
    canvas.fill(&land, tone);
    for _ in 0..46 {
        let t = random.fraction() * random.fraction() * 0.42;
        let x = if from_left {
            t * width
        } else {
            width - t * width
        };
        let root = point(x, 0.90 + 0.34 * t);
        let lean = random.around(0.05) + 0.015;
        let tall = random.between(0.06, 0.16) * (1.0 - t);
        let blade = [
            root,
            root + point(lean * 0.3, -tall * 0.6),
            root + point(lean, -tall),
        ];
        canvas.fill(&Path::stroke(&blade, 0.0032, 0.0008), tone);
    }
}
