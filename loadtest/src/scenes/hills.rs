//! Landscape: rolling hills with fields, trees and a farmhouse.

use super::sky;
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{lerp, sin, smooth};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

/// Paints the scene.
pub fn paint(canvas: &mut Canvas, random: &mut Random) {
    let hour = sky::day(random);
    let width = canvas.width();
    sky::paint(canvas, random, &hour, 0.52, 0.15);
    let sun = point(
        width * random.between(0.15, 0.85),
        random.between(0.10, 0.2),
    );
    sky::sun(canvas, &hour, sun, 0.028);
    for _ in 0..random.whole(1, 3) {
        let at = point(width * random.fraction(), random.between(0.14, 0.32));
        let size = random.between(0.08, 0.15);
        sky::puff(canvas, random, &hour, at, size);
    }
    let season = random.whole(0, 3);
    let layers = random.whole(4, 5);
    for layer in 0..layers {
        let t = layer as f32 / (layers - 1) as f32;
        hill(canvas, random, &hour, season, t);
    }
}

/// The hue of grass (degrees), and its lightness and chroma, by season.
fn grass(random: &mut Random, season: u32) -> Colour {
    let (hue, light, chroma): (f32, f32, f32) = match season {
        0 => (128.0, 0.70, 0.15),
        1 => (118.0, 0.66, 0.13),
        2 => (98.0, 0.74, 0.12),
        _ => (75.0, 0.66, 0.12),
    };
    oklch(
        light + random.around(0.04),
        chroma,
        hue + random.around(10.0),
    )
}

/// One hill; `near` runs from 0 (far) to 1.
fn hill(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, season: u32, near: f32) {
    let width = canvas.width();
    let base = lerp(0.50, 0.84, near * near.sqrt()) + random.around(0.015);
    let swell = lerp(0.05, 0.09, near);
    let (phase, waves) = (random.between(0.0, 6.0), random.between(2.0, 3.6));
    let seed = random.bits();
    let height = |x: f32| {
        base - swell * sin(x * waves + phase) - 0.035 * noise::layers(x * 2.5, 2.0, 2, seed)
    };
    let own = grass(random, season).under(hour.light);
    // Air between: far hills take the sky's colour.
    let air = |colour: Colour| {
        colour.mix(
            hour.horizon.mix(hour.middle, 0.5),
            0.62 * (1.0 - near) * (1.0 - near),
        )
    };
    let rows = random.chance(0.45);
    let (row_lean, row_gap) = (random.around(1.4), random.between(26.0, 40.0));
    let patch = grass(random, (season + 1) % 4).under(hour.light);
    canvas.paint(&Path::under(-0.05, width + 0.05, 1.1, height), |place| {
        let down = place.y - height(place.x);
        let field = noise::layers(place.x * 2.4, place.y * 5.0, 2, seed ^ 3);
        let texture = noise::layers(place.x * 60.0, place.y * 130.0, 3, seed ^ 7) - 0.5;
        let mut colour = own.mix(patch, smooth(0.50, 0.56, field) * 0.75);
        if rows && field < 0.53 {
            let furrow = sin((place.x + down * row_lean) * row_gap / (0.4 + near));
            colour = colour.times(1.0 + 0.10 * smooth(-0.2, 0.6, furrow) - 0.05);
        }
        // Crests are lit, hollows are not.
        air(colour.times(1.12 - 0.9 * down.min(0.34) + 0.14 * texture * (0.4 + near)))
    });
    let size = lerp(0.022, 0.085, near);
    let count = random.whole(2, 5);
    if near > 0.25 && near < 0.8 && random.chance(0.6) {
        let x = width * random.between(0.15, 0.85);
        farm(
            canvas,
            random,
            hour,
            point(x, height(x) + 0.012),
            size * 0.9,
            &air,
        );
    }
    let grove = width * random.fraction();
    let pointed = random.chance(0.35);
    let mut trees: Vec<Point> = (0..count)
        .map(|_| {
            let x = grove + random.around(0.30);
            point(x, height(x) + random.between(0.004, 0.03) * (0.4 + near))
        })
        .collect();
    trees.sort_by(|a, b| a.y.total_cmp(&b.y));
    for foot in trees {
        let size = size * random.between(0.8, 1.25);
        tree(canvas, random, hour, season, foot, size, pointed, &air);
    }
}

/// A tree: a round crown made of clumps, or a cypress.
#[allow(clippy::too_many_arguments)]
pub fn tree(
    canvas: &mut Canvas,
    random: &mut Random,
    hour: &sky::Hour,
    season: u32,
    foot: Point,
    size: f32,
    pointed: bool,
    air: &impl Fn(Colour) -> Colour,
) {
    let hue = match season {
        0 => random.between(125.0, 140.0),
        1 => random.between(130.0, 148.0),
        2 => random.between(112.0, 135.0),
        _ => random.choose(&[45.0, 60.0, 80.0, 35.0]),
    };
    let leaves = oklch(random.between(0.46, 0.56), 0.11, hue).under(hour.light);
    let trunk = hex(0x5c4330).under(hour.light);
    canvas.shadow(
        &Path::ellipse(
            foot + point(size * 0.25, size * 0.03),
            size * 0.7,
            size * 0.12,
            0.0,
        ),
        point(0.0, 0.0),
        size * 0.10,
        0.45,
    );
    if pointed {
        let crown = Path::smooth(&[
            foot + point(-size * 0.16, -size * 0.10),
            foot + point(-size * 0.24, -size * 0.8),
            foot + point(0.0, -size * 2.3),
            foot + point(size * 0.24, -size * 0.8),
            foot + point(size * 0.16, -size * 0.10),
        ]);
        canvas.fill(
            &Path::stroke(
                &[foot, foot + point(0.0, -size * 0.3)],
                size * 0.05,
                size * 0.05,
            ),
            air(trunk),
        );
        canvas.paint(&crown, |place| {
            let side = (place.x - foot.x) / (size * 0.24);
            air(leaves.times(0.88 - 0.28 * side))
        });
        return;
    }
    let top = foot + point(0.0, -size * 0.6);
    canvas.fill(
        &Path::stroke(&[foot, top], size * 0.09, size * 0.06),
        air(trunk),
    );
    let mut clumps: Vec<(Point, f32)> = (0..8)
        .map(|_| {
            let at = top
                + point(
                    random.around(size * 0.65),
                    -size * 0.45 + random.around(size * 0.5),
                );
            (at, size * random.between(0.30, 0.46))
        })
        .collect();
    clumps.sort_by(|a, b| b.0.y.total_cmp(&a.0.y));
    let middle = top + point(0.0, -size * 0.45);
    for (at, radius) in clumps {
        let lift = (middle.y - at.y) / size;
        let seed = random.bits();
        canvas.paint(&Path::circle(at, radius), |place| {
            let d = (place - at) * (1.0 / radius);
            let leaf = noise::value(place.x * 9.0 / size, place.y * 9.0 / size, seed) - 0.5;
            air(leaves.times(0.95 + 0.30 * lift - 0.20 * d.y - 0.14 * d.x + 0.22 * leaf))
        });
    }
}

fn farm(
    canvas: &mut Canvas,
    random: &mut Random,
    hour: &sky::Hour,
    foot: Point,
    size: f32,
    air: &impl Fn(Colour) -> Colour,
) {
    let wall = random
        .choose(&[hex(0xf3ead8), hex(0xe7c9a0), hex(0xd98f70)])
        .under(hour.light);
    let roof = random
        .choose(&[hex(0xb4523a), hex(0x8a4a3a), hex(0x5d6470)])
        .under(hour.light);
    let at = |x: f32, y: f32| foot + point(x, y) * size;
    canvas.fill(
        &Path::polygon(&[at(-0.9, 0.0), at(-0.9, -0.7), at(0.5, -0.7), at(0.5, 0.0)]),
        air(wall),
    );
    canvas.fill(
        &Path::polygon(&[
            at(0.5, 0.0),
            at(0.5, -0.7),
            at(0.78, -1.2),
            at(1.06, -0.7),
            at(1.06, 0.0),
        ]),
        air(wall.times(0.80)),
    );
    canvas.fill(
        &Path::polygon(&[
            at(-1.0, -0.66),
            at(-0.68, -1.22),
            at(0.80, -1.22),
            at(0.48, -0.66),
        ]),
        air(roof),
    );
    for x in [-0.62, -0.2, 0.2] {
        let window = Path::polygon(&[
            at(x, -0.5),
            at(x + 0.16, -0.5),
            at(x + 0.16, -0.28),
            at(x, -0.28),
        ]);
        canvas.fill(&window, air(hex(0x4a5a6a)));
    }
}
