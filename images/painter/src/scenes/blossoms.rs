//! Pattern: blossoms strewn over a coloured ground, like a wallpaper.

use super::flowers::{BLOSSOMS, Blossom, paint_blossom};
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{TAU, on_circle};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

pub fn paint_blossom_pattern(canvas: &mut Canvas, random: &mut Random) {
    let ground: Colour = random.choose_from(&[
        hex(0x24454f),
        hex(0xf3e9d8),
        hex(0xcfe0d4),
        hex(0x3a2f4f),
        hex(0xf2cfc4),
        hex(0xc9d9ee),
        hex(0x7a2f3c),
    ]);
    let seed = random.next_u64();
    canvas.paint_all(|place| {
        let weave = noise::smooth_noise(place.x * 240.0, place.y * 60.0, seed)
            + noise::smooth_noise(place.x * 60.0, place.y * 240.0, seed ^ 1);
        ground.scale_by(0.97 + 0.04 * weave)
    });
    let kinds: Vec<Blossom> = BLOSSOMS
        .into_iter()
        .filter(|kind| *kind != Blossom::Tulip)
        .collect();
    let large = random.choose_from(&kinds);
    let small = random.choose_from(&kinds);
    let (large_colour, small_colour) = (large.choose_colour(random), small.choose_colour(random));
    let step = random.float_between(0.24, 0.31);
    let green = oklch(
        if ground.g > 0.6 { 0.52 } else { 0.66 },
        0.09,
        random.float_between(125.0, 155.0),
    );
    let mut places = Vec::new();
    let columns = (canvas.width() / step) as i32 + 2;
    let rows = (1.0 / step) as i32 + 2;
    for row in -1..=rows {
        for column in -1..=columns {
            let shift = if row % 2 == 0 { 0.0 } else { 0.5 };
            places.push((
                point((column as f32 + shift) * step, row as f32 * step * 0.9)
                    + point(random.float_around(0.02), random.float_around(0.02)),
                random.next_fraction(),
            ));
        }
    }
    for (at, turn) in &places {
        paint_twig(canvas, *at, step, turn * TAU, green);
    }
    for (at, turn) in &places {
        let between = *at + point(step * 0.5, 0.0) + on_circle(turn * TAU) * (step * 0.05);
        paint_blossom(
            canvas,
            random,
            small,
            small_colour,
            between,
            step * 0.13,
            turn * TAU,
        );
        paint_blossom(
            canvas,
            random,
            large,
            large_colour,
            *at,
            step * 0.30,
            turn * TAU,
        );
    }
}

/// Paints leaves that show from under a blossom.
fn paint_twig(canvas: &mut Canvas, at: Point, step: f32, turn: f32, green: Colour) {
    for i in 0..4 {
        let out = on_circle(turn + i as f32 * TAU / 4.0 + if i % 2 == 0 { 0.3 } else { 0.0 });
        let across = point(-out.y, out.x);
        let (root, tip) = (at + out * (step * 0.18), at + out * (step * 0.47));
        let half = (tip - root) * 0.5;
        let leaf = Path::smooth_closed(&[
            root,
            root + half + across * (step * 0.075),
            tip,
            root + half - across * (step * 0.075),
        ]);
        canvas.paint_path(&leaf, |place| {
            let side = (place - root).dot(across);
            green.scale_by(if side > 0.0 { 0.86 } else { 1.08 })
        });
    }
}
