//! Still life: a vase of flowers.

use super::flowers::{BLOSSOMS, paint_blossom};
use super::{fruit, table};
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{lerp, sin};
use crate::paint::shade::{paint_lathe, profile_radius};
use crate::paint::{Canvas, Light, Path, Random, noise, point};

pub fn paint_flower_vase(canvas: &mut Canvas, random: &mut Random) {
    let light = Light::indoors(random);
    let edge = table::paint_table(canvas, random, &light);
    let foot = point(
        canvas.width() / 2.0 + random.float_around(0.08),
        (edge + 0.30).min(0.92),
    );
    let height = random.float_between(0.34, 0.42);
    let radius = height * random.float_between(0.34, 0.46);
    table::paint_contact_shadow(canvas, &light, foot, radius * 0.7, height * 1.5);
    let mouth = point(foot.x, foot.y - height);
    paint_bouquet(canvas, random, &light, mouth, radius);
    paint_vessel(canvas, random, &light, foot.x, (mouth.y, foot.y), radius);
}

fn paint_bouquet(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    mouth: crate::paint::Point,
    radius: f32,
) {
    let kind = random.choose_from(&BLOSSOMS);
    let count = random.int_between(5, 8);
    let size = random.float_between(0.078, 0.098);
    let first = kind.choose_colour(random);
    let second = if random.next_bool(0.4) {
        kind.choose_colour(random)
    } else {
        first
    };
    let top = mouth.y;
    let reach = (top - 0.10).min(0.34);
    let mut heads = Vec::new();
    for i in 0..count {
        let t = if count > 1 {
            i as f32 / (count - 1) as f32
        } else {
            0.5
        };
        let spread = (t - 0.5) * 2.0;
        let lift = 1.0 - 0.55 * spread * spread - if i % 2 == 0 { 0.0 } else { 0.42 };
        heads.push(point(
            mouth.x + spread * (radius + 0.17) + random.float_around(0.02),
            top - reach * lift.max(0.12) + random.float_around(0.015),
        ));
    }
    for head in &heads {
        let root = point(mouth.x + (head.x - mouth.x) * 0.12, mouth.y + 0.03);
        let bend = point(lerp(root.x, head.x, 0.35), lerp(root.y, head.y, 0.6));
        let green = oklch(
            random.float_between(0.48, 0.58),
            0.11,
            random.float_between(130.0, 145.0),
        );
        canvas.fill_path(
            &Path::stroked_line(&[root, bend, *head], 0.006, 0.0045),
            green.lit_by(light.colour),
        );
        if random.next_bool(0.75) {
            let side = (head.x - mouth.x).signum();
            fruit::paint_leaf(
                canvas,
                light,
                bend,
                point(
                    side * random.float_between(0.06, 0.1),
                    -random.float_between(0.0, 0.05),
                ),
            );
        }
    }
    heads.sort_by(|a, b| a.y.total_cmp(&b.y));
    for (i, head) in heads.iter().enumerate() {
        let colour = if i % 2 == 0 { first } else { second };
        let turn = random.float_between(0.0, 6.0);
        let size = size * random.float_between(0.88, 1.1);
        paint_blossom(
            canvas,
            random,
            kind,
            colour.lit_by(light.colour),
            *head,
            size,
            turn,
        );
    }
}

fn paint_vessel(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    x: f32,
    span: (f32, f32),
    radius: f32,
) {
    const SHAPES: [[f32; 9]; 4] = [
        [0.52, 0.42, 0.40, 0.56, 0.84, 1.0, 0.96, 0.78, 0.56],
        [0.66, 0.64, 0.72, 0.84, 0.94, 1.0, 0.98, 0.88, 0.70],
        [0.86, 0.70, 0.56, 0.50, 0.54, 0.66, 0.80, 0.82, 0.62],
        [0.40, 0.38, 0.38, 0.42, 0.62, 0.92, 1.0, 0.88, 0.58],
    ];
    let shape = random.choose_from(&SHAPES);
    let glaze: Colour = random.choose_from(&[
        hex(0x2f5d8c),
        hex(0xe9e2d3),
        hex(0x4d8076),
        hex(0xc0603f),
        hex(0x8c6bb0),
        hex(0xd9a441),
        hex(0x3a3f4a),
    ]);
    let trim = if glaze.r + glaze.g + glaze.b > 2.2 {
        hex(0x3a6ea5)
    } else {
        glaze.mix_white(0.72)
    };
    let style = random.int_between(0, 3);
    let seed = random.next_u64();
    let mouth = radius * shape[0];
    paint_lathe(
        canvas,
        light,
        x,
        span,
        0.22,
        0.95,
        |t| radius * profile_radius(&shape, t),
        |u, t| {
            // The angle around the axis, accurate enough for a pattern.
            let around = u * (1.0 + 0.35 * u * u);
            let mark = match style {
                0 => (0.40..0.46).contains(&t) || (0.70..0.74).contains(&t),
                1 => (t - 0.56 - 0.05 * sin(around * 12.0)).abs() < 0.022,
                2 => {
                    let (column, row) = (around * 4.0 + 0.5, t * 9.0);
                    let (dx, dy) = (column - column.floor() - 0.5, row - row.floor() - 0.5);
                    (0.30..0.85).contains(&t) && dx * dx + dy * dy < 0.05
                }
                _ => false,
            };
            let cloud = 0.93 + 0.14 * noise::layered_noise(around * 3.0, t * 5.0, 3, seed);
            if mark { trim } else { glaze.scale_by(cloud) }
        },
    );
    // The near side of the rim, and the dark mouth behind it where no stem covers it.
    let rim: Vec<_> = (0..=24)
        .map(|i| {
            let on = crate::paint::math::on_circle(i as f32 / 48.0 * crate::paint::math::TAU);
            point(x + on.x * mouth, span.0 + on.y * mouth * 0.22)
        })
        .collect();
    canvas.fill_path(
        &Path::stroked_line(&rim, 0.005, 0.005),
        glaze.mix_white(0.35).lit_by(light.colour),
    );
}
