//! Pattern: glazed tiles.

use crate::paint::colour::{Colour, hex};
use crate::paint::math::{Point, TAU, lerp, on_circle, smooth_step};
use crate::paint::{Canvas, Random, noise, point};

pub fn paint_tiles(canvas: &mut Canvas, random: &mut Random) {
    let palette: [Colour; 4] = random.choose_from(&[
        [hex(0xf4f1e8), hex(0x2b5c9e), hex(0x7fa8d6), hex(0xe5b545)],
        [hex(0xf3e6d0), hex(0xb5482e), hex(0xe09a5b), hex(0x3d5a5b)],
        [hex(0xeaf1ec), hex(0x23705f), hex(0x86bfa4), hex(0xe9c46a)],
        [hex(0xf6eef2), hex(0x7b3f73), hex(0xc98bb9), hex(0x4f6fa8)],
        [hex(0xefeae1), hex(0x3b4252), hex(0x98a3b3), hex(0xd1603d)],
    ]);
    let motif = random.int_between(0, 4);
    let across = random.float_between(3.2, 5.2);
    let turn = random.choose_from(&[0.0, 0.0, TAU / 8.0, 0.12, -0.09]);
    let seed = random.next_u64();
    let lamp = point(
        canvas.width() * random.next_fraction(),
        random.float_between(-0.2, 0.4),
    );
    let grout = palette[0].scale_by(0.70);
    let soft = 1.6 * across / canvas.scale();
    let shift = point(random.next_fraction(), random.next_fraction());
    canvas.paint_all(|place| {
        let p = place.rotate_by(turn) * across + shift;
        let (column, row) = (p.x.floor(), p.y.floor());
        let local = point((p.x - column) * 2.0 - 1.0, (p.y - row) * 2.0 - 1.0);
        let id = (column as i32, row as i32);
        let tone = 1.0 + 0.07 * (noise::random_cell(id.0, id.1, seed) - 0.5);
        let painted = motif_colour(motif, local, id, &palette, soft * 2.0);
        let edge = local.x.abs().max(local.y.abs());
        // A rounded edge: lighter towards the lamp, darker away from it.
        let bevel = smooth_step(0.86, 0.96, edge);
        let towards = if local.x.abs() > local.y.abs() {
            local.x.signum() * (lamp.x - place.x)
        } else {
            local.y.signum() * (lamp.y - place.y)
        };
        let sheen = smooth_step(1.2, 0.0, (place - lamp).length());
        let cloud = noise::layered_noise(p.x * 3.0, p.y * 3.0, 3, seed ^ 2) - 0.5;
        painted
            .scale_by(tone * (0.90 + 0.16 * sheen + 0.05 * cloud))
            .scale_by(1.0 + 0.16 * bevel * towards.clamp(-1.0, 1.0))
            .mix_white(0.10 * sheen)
            .mix_with(
                grout.scale_by(
                    0.90 + 0.2 * noise::smooth_noise(place.x * 200.0, place.y * 200.0, seed),
                ),
                smooth_step(0.965 - soft, 0.965 + soft, edge),
            )
    });
}

/// Returns the colour of a tile's face; `local` is −1…1 on both axes.
fn motif_colour(
    motif: u32,
    local: Point,
    id: (i32, i32),
    palette: &[Colour; 4],
    soft: f32,
) -> Colour {
    let [ground, dark, middle, accent] = *palette;
    let inside = |distance: f32| smooth_step(soft, -soft, distance);
    let far = local.length();
    let folded = point(local.x.abs(), local.y.abs());
    let corner = (folded - point(1.0, 1.0)).length();
    match motif {
        0 => star_flower_colour(local, palette, soft),
        1 => quarter_arcs_colour(local, id, palette, soft),
        // Diamonds in a chequer.
        2 => {
            let even = (id.0 + id.1).rem_euclid(2) == 0;
            let (a, b) = if even { (ground, dark) } else { (dark, ground) };
            let d = folded.x + folded.y;
            a.mix_with(b, inside(d - 0.92))
                .mix_with(accent, inside(d - 0.52))
                .mix_with(b, inside(d - 0.36))
                .mix_with(a, inside(d - 0.16))
        }
        // Rings.
        3 => {
            let even = (id.0 + id.1).rem_euclid(2) == 0;
            let (a, b) = if even { (dark, middle) } else { (middle, dark) };
            ground
                .mix_with(a, inside(far - 0.82))
                .mix_with(ground, inside(far - 0.64))
                .mix_with(b, inside(far - 0.48))
                .mix_with(accent, inside(far - 0.22))
                .mix_with(b, inside(corner - 0.34))
                .mix_with(ground, inside(corner - 0.20))
        }
        // An eight-pointed star from two squares.
        _ => {
            let square = |p: Point, half: f32| p.x.abs().max(p.y.abs()) - half;
            let turned = local.rotate_by(TAU / 8.0);
            let star = |half: f32| square(local, half).min(square(turned, half));
            ground
                .mix_with(middle, inside(corner - 0.40))
                .mix_with(dark, inside(star(0.60)))
                .mix_with(ground, inside(star(0.46)))
                .mix_with(accent, inside(star(0.34)))
                .mix_with(dark, inside(far - 0.16))
                .mix_with(accent, lerp(0.0, 1.0, inside(corner - 0.18)))
        }
    }
}

/// A star flower with quarter circles in the corners.
fn star_flower_colour(local: Point, palette: &[Colour; 4], soft: f32) -> Colour {
    let [ground, dark, middle, accent] = *palette;
    let inside = |distance: f32| smooth_step(soft, -soft, distance);
    let far = local.length();
    let corner = (point(local.x.abs(), local.y.abs()) - point(1.0, 1.0)).length();
    let mut colour = ground;
    colour = colour.mix_with(middle, inside(corner - 0.52));
    colour = colour.mix_with(ground, inside(corner - 0.38));
    colour = colour.mix_with(dark, inside(corner - 0.24));
    for i in 0..8 {
        let axis = on_circle(i as f32 / 8.0 * TAU);
        let along = local.dot(axis);
        let across = local.dot(point(-axis.y, axis.x)).abs();
        let petal = across - 0.30 * (along * (0.74 - along)).max(0.0) / 0.14 * 0.42;
        if along > 0.0 && along < 0.74 {
            let tint = if i % 2 == 0 { dark } else { middle };
            colour = colour.mix_with(tint, inside(petal));
        }
    }
    colour.mix_with(accent, inside(far - 0.13))
}

/// Interlaced quarter arcs, flipped by chance (Truchet tiles).
fn quarter_arcs_colour(local: Point, id: (i32, i32), palette: &[Colour; 4], soft: f32) -> Colour {
    let [ground, dark, middle, _] = *palette;
    let inside = |distance: f32| smooth_step(soft, -soft, distance);
    let flip = (id.0 * 7 + id.1 * 13 + id.0 * id.1 * 3).rem_euclid(2) == 0;
    let p = if flip {
        local
    } else {
        point(-local.x, local.y)
    };
    let a = (p - point(-1.0, -1.0)).length();
    let b = (p - point(1.0, 1.0)).length();
    let mut colour = ground;
    for d in [a, b] {
        colour = colour.mix_with(dark, inside((d - 1.0).abs() - 0.34));
        colour = colour.mix_with(middle, inside((d - 1.0).abs() - 0.22));
        colour = colour.mix_with(ground, inside((d - 1.0).abs() - 0.05));
    }
    colour
}
