//! Landscape: rolling hills with fields, trees and a farmhouse.

use super::sky;
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{lerp, sin, smooth_step};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

pub fn paint_hills(canvas: &mut Canvas, random: &mut Random) {
    let hour = sky::random_day(random);
    let width = canvas.width();
    sky::paint_sky(canvas, random, &hour, 0.52, 0.15);
    let sun = point(
        width * random.float_between(0.15, 0.85),
        random.float_between(0.10, 0.2),
    );
    sky::paint_sun(canvas, &hour, sun, 0.028);
    for _ in 0..random.int_between(1, 3) {
        let at = point(
            width * random.next_fraction(),
            random.float_between(0.14, 0.32),
        );
        let size = random.float_between(0.08, 0.15);
        sky::paint_cloud(canvas, random, &hour, at, size);
    }
    let season = random.int_between(0, 3);
    let layers = random.int_between(4, 5);
    for layer in 0..layers {
        let t = layer as f32 / (layers - 1) as f32;
        paint_hill(canvas, random, &hour, season, t);
    }
}

/// Draws the colour of grass in a season.
fn grass_colour(random: &mut Random, season: u32) -> Colour {
    let (hue, light, chroma): (f32, f32, f32) = match season {
        0 => (128.0, 0.70, 0.15),
        1 => (118.0, 0.66, 0.13),
        2 => (98.0, 0.74, 0.12),
        _ => (75.0, 0.66, 0.12),
    };
    oklch(
        light + random.float_around(0.04),
        chroma,
        hue + random.float_around(10.0),
    )
}

/// Paints one hill; `near` is 0 (far) to 1.
fn paint_hill(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, season: u32, near: f32) {
    let width = canvas.width();
    let base = lerp(0.50, 0.84, near * near.sqrt()) + random.float_around(0.015);
    let swell = lerp(0.05, 0.09, near);
    let (phase, waves) = (
        random.float_between(0.0, 6.0),
        random.float_between(2.0, 3.6),
    );
    let seed = random.next_u64();
    let height = |x: f32| {
        base - swell * sin(x * waves + phase) - 0.035 * noise::layered_noise(x * 2.5, 2.0, 2, seed)
    };
    let own = grass_colour(random, season).lit_by(hour.light);
    // Far hills take the sky's colour.
    let air = |colour: Colour| {
        colour.mix_with(
            hour.horizon.mix_with(hour.middle, 0.5),
            0.62 * (1.0 - near) * (1.0 - near),
        )
    };
    let rows = random.next_bool(0.45);
    let (row_lean, row_gap) = (random.float_around(1.4), random.float_between(26.0, 40.0));
    let patch = grass_colour(random, (season + 1) % 4).lit_by(hour.light);
    canvas.paint_path(
        &Path::area_under(-0.05, width + 0.05, 1.1, height),
        |place| {
            let down = place.y - height(place.x);
            let field = noise::layered_noise(place.x * 2.4, place.y * 5.0, 2, seed ^ 3);
            let texture = noise::layered_noise(place.x * 60.0, place.y * 130.0, 3, seed ^ 7) - 0.5;
            let mut colour = own.mix_with(patch, smooth_step(0.50, 0.56, field) * 0.75);
            if rows && field < 0.53 {
                let furrow = sin((place.x + down * row_lean) * row_gap / (0.4 + near));
                colour = colour.scale_by(1.0 + 0.10 * smooth_step(-0.2, 0.6, furrow) - 0.05);
            }
            // Crests are lit, hollows are not.
            air(colour.scale_by(1.12 - 0.9 * down.min(0.34) + 0.14 * texture * (0.4 + near)))
        },
    );
    let size = lerp(0.022, 0.085, near);
    let count = random.int_between(2, 5);
    if near > 0.25 && near < 0.8 && random.next_bool(0.6) {
        let x = width * random.float_between(0.15, 0.85);
        paint_farm(
            canvas,
            random,
            hour,
            point(x, height(x) + 0.012),
            size * 0.9,
            &air,
        );
    }
    let grove = width * random.next_fraction();
    let pointed = random.next_bool(0.35);
    let mut trees: Vec<Point> = (0..count)
        .map(|_| {
            let x = grove + random.float_around(0.30);
            point(
                x,
                height(x) + random.float_between(0.004, 0.03) * (0.4 + near),
            )
        })
        .collect();
    trees.sort_by(|a, b| a.y.total_cmp(&b.y));
    for foot in trees {
        let size = size * random.float_between(0.8, 1.25);
        paint_tree(canvas, random, hour, season, foot, size, pointed, &air);
    }
}

/// Paints a tree: a round crown made of clumps, or a cypress.
#[allow(clippy::too_many_arguments)]
pub fn paint_tree(
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
        0 => random.float_between(125.0, 140.0),
        1 => random.float_between(130.0, 148.0),
        2 => random.float_between(112.0, 135.0),
        _ => random.choose_from(&[45.0, 60.0, 80.0, 35.0]),
    };
    let leaves = oklch(random.float_between(0.46, 0.56), 0.11, hue).lit_by(hour.light);
    let trunk = hex(0x5c4330).lit_by(hour.light);
    canvas.cast_shadow(
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
        let crown = Path::smooth_closed(&[
            foot + point(-size * 0.16, -size * 0.10),
            foot + point(-size * 0.24, -size * 0.8),
            foot + point(0.0, -size * 2.3),
            foot + point(size * 0.24, -size * 0.8),
            foot + point(size * 0.16, -size * 0.10),
        ]);
        canvas.fill_path(
            &Path::stroked_line(
                &[foot, foot + point(0.0, -size * 0.3)],
                size * 0.05,
                size * 0.05,
            ),
            air(trunk),
        );
        canvas.paint_path(&crown, |place| {
            let side = (place.x - foot.x) / (size * 0.24);
            air(leaves.scale_by(0.88 - 0.28 * side))
        });
        return;
    }
    let top = foot + point(0.0, -size * 0.6);
    canvas.fill_path(
        &Path::stroked_line(&[foot, top], size * 0.09, size * 0.06),
        air(trunk),
    );
    let mut clumps: Vec<(Point, f32)> = (0..8)
        .map(|_| {
            let at = top
                + point(
                    random.float_around(size * 0.65),
                    -size * 0.45 + random.float_around(size * 0.5),
                );
            (at, size * random.float_between(0.30, 0.46))
        })
        .collect();
    clumps.sort_by(|a, b| b.0.y.total_cmp(&a.0.y));
    let middle = top + point(0.0, -size * 0.45);
    for (at, radius) in clumps {
        let lift = (middle.y - at.y) / size;
        let seed = random.next_u64();
        canvas.paint_path(&Path::circle(at, radius), |place| {
            let d = (place - at) * (1.0 / radius);
            let leaf = noise::smooth_noise(place.x * 9.0 / size, place.y * 9.0 / size, seed) - 0.5;
            air(leaves.scale_by(0.95 + 0.30 * lift - 0.20 * d.y - 0.14 * d.x + 0.22 * leaf))
        });
    }
}

fn paint_farm(
    canvas: &mut Canvas,
    random: &mut Random,
    hour: &sky::Hour,
    foot: Point,
    size: f32,
    air: &impl Fn(Colour) -> Colour,
) {
    let wall = random
        .choose_from(&[hex(0xf3ead8), hex(0xe7c9a0), hex(0xd98f70)])
        .lit_by(hour.light);
    let roof = random
        .choose_from(&[hex(0xb4523a), hex(0x8a4a3a), hex(0x5d6470)])
        .lit_by(hour.light);
    let at = |x: f32, y: f32| foot + point(x, y) * size;
    canvas.fill_path(
        &Path::polygon(&[at(-0.9, 0.0), at(-0.9, -0.7), at(0.5, -0.7), at(0.5, 0.0)]),
        air(wall),
    );
    canvas.fill_path(
        &Path::polygon(&[
            at(0.5, 0.0),
            at(0.5, -0.7),
            at(0.78, -1.2),
            at(1.06, -0.7),
            at(1.06, 0.0),
        ]),
        air(wall.scale_by(0.80)),
    );
    canvas.fill_path(
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
        canvas.fill_path(&window, air(hex(0x4a5a6a)));
    }
}
