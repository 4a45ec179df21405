//! Still life: a cup of coffee or tea on its saucer.

use super::table;
use crate::paint::colour::{Colour, WHITE, hex};
use crate::paint::math::{TAU, on_circle, sin};
use crate::paint::shade::{paint_lathe, profile_radius};
use crate::paint::{Canvas, Light, Path, Point, Random, noise, point};

pub fn paint_cup_scene(canvas: &mut Canvas, random: &mut Random) {
    let light = Light::indoors(random);
    let edge = table::paint_table(canvas, random, &light);
    let size = random.float_between(0.19, 0.225).min(canvas.width() / 4.2);
    let foot = point(
        canvas.width() / 2.0 + random.float_around(0.12) * canvas.width(),
        (edge + 0.27).min(0.86),
    );
    let glaze: Colour = random.choose_from(&[
        hex(0xf2efe8),
        hex(0x3f6f95),
        hex(0xc9573f),
        hex(0x7a9a78),
        hex(0xe6b84a),
        hex(0x39424f),
        hex(0xd98fa3),
    ]);
    paint_saucer(canvas, &light, foot, size, glaze);
    if random.next_bool(0.6) {
        paint_biscuits(canvas, random, &light, foot, size);
    }
    paint_cup(canvas, random, &light, foot, size, glaze);
}

fn paint_saucer(canvas: &mut Canvas, light: &Light, foot: Point, size: f32, glaze: Colour) {
    let plate = Path::ellipse(foot, size * 1.75, size * 0.48, 0.0);
    canvas.cast_shadow(&plate, point(light.shadow_offset(0.1).x, 0.02), 0.022, 0.7);
    let side = light.towards.x;
    canvas.paint_path(&plate, |place| {
        let d = point(
            (place.x - foot.x) / (size * 1.75),
            (place.y - foot.y) / (size * 0.48),
        );
        glaze
            .lit_by(light.colour)
            .scale_by(1.0 + 0.10 * d.x * side - 0.06 * d.y)
    });
    let lip = Path::ellipse(point(foot.x, foot.y - 0.004), size * 1.68, size * 0.45, 0.0);
    canvas.paint_path(&lip, |place| {
        let d = point(
            (place.x - foot.x) / (size * 1.68),
            (place.y - foot.y) / (size * 0.45),
        );
        glaze
            .lit_by(light.colour)
            .scale_by(0.93 - 0.10 * d.x * side + 0.06 * d.y)
    });
    let well = Path::ellipse(foot, size * 0.95, size * 0.25, 0.0);
    canvas.cast_shadow(
        &well,
        point(light.shadow_offset(0.2).x * 0.6, 0.006),
        0.016,
        0.55,
    );
}

fn paint_cup(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    foot: Point,
    size: f32,
    glaze: Colour,
) {
    let top = foot.y - size * random.float_between(1.25, 1.5);
    let shape = random.choose_from(&[
        [1.0, 0.99, 0.96, 0.90, 0.78, 0.60],
        [0.94, 0.93, 0.92, 0.91, 0.89, 0.80],
        [1.0, 0.90, 0.84, 0.84, 0.80, 0.56],
    ]);
    let height = foot.y - top;
    let radius = |t: f32| size * profile_radius(&shape, t);
    let side = random.next_sign();
    let grip = point(foot.x + side * size * shape[2], top + height * 0.42);
    paint_handle(canvas, light, grip, side, (size, height), glaze);
    let style = random.int_between(0, 3);
    let trim = if glaze.r + glaze.g + glaze.b > 2.4 {
        hex(0x38648c)
    } else {
        WHITE
    };
    paint_lathe(
        canvas,
        light,
        foot.x,
        (top, foot.y),
        0.20,
        0.9,
        radius,
        |u, t| {
            if is_marked(style, u, t) {
                glaze.mix_with(trim, 0.85)
            } else {
                glaze
            }
        },
    );
    paint_drink(
        canvas,
        random,
        light,
        point(foot.x, top),
        size * shape[0],
        glaze,
    );
}

fn paint_handle(
    canvas: &mut Canvas,
    light: &Light,
    grip: Point,
    side: f32,
    (size, height): (f32, f32),
    glaze: Colour,
) {
    let ring: Vec<Point> = (0..=10)
        .map(|i| {
            let on = on_circle((i as f32 / 10.0 - 0.5) * TAU * 0.56);
            grip + point(side * on.x * size * 0.50, on.y * height * 0.30)
        })
        .collect();
    canvas.fill_path(
        &Path::stroked_line(&ring, size * 0.085, size * 0.075),
        glaze.lit_by(light.colour).scale_by(0.80),
    );
    let shine: Vec<Point> = ring
        .iter()
        .map(|p| point(p.x - 0.004, p.y - 0.005))
        .collect();
    canvas.glaze_path(
        &Path::stroked_line(&shine, size * 0.035, size * 0.03),
        glaze.mix_white(0.5),
        0.55,
    );
}

/// Returns whether the decoration covers a place: `u` runs −1…1 across, `t` 0…1 downwards.
fn is_marked(style: u32, u: f32, t: f32) -> bool {
    let around = u * (1.0 + 0.35 * u * u);
    match style {
        0 => (0.14..0.20).contains(&t) || (0.24..0.26).contains(&t),
        1 => {
            let (column, row) = (around * 3.5, t * 5.0);
            let shift = if row.floor() as i32 % 2 == 0 {
                0.5
            } else {
                0.0
            };
            let (dx, dy) = (
                column + shift - (column + shift).floor() - 0.5,
                row - row.floor() - 0.5,
            );
            dx * dx + dy * dy * 0.8 < 0.06
        }
        2 => (sin(around * 14.0) > 0.55) && t > 0.3,
        _ => false,
    }
}

fn paint_drink(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    centre: Point,
    radius: f32,
    glaze: Colour,
) {
    let tilt = 0.27;
    canvas.fill_path(
        &Path::ellipse(centre, radius, radius * tilt, 0.0),
        glaze.mix_white(0.35).lit_by(light.colour),
    );
    let inner = Path::ellipse(centre, radius * 0.94, radius * tilt * 0.90, 0.0);
    canvas.paint_path(&inner, |place| {
        let across = (place.x - centre.x) / radius;
        glaze
            .mix_with(hex(0xf4efe6), 0.6)
            .lit_by(light.colour)
            .scale_by(0.80 - 0.14 * across * light.towards.x)
    });
    let (dark, pale) = random.choose_from(&[
        (hex(0x3b2314), hex(0xc89b6a)),
        (hex(0x6b3f22), hex(0xe3c49a)),
        (hex(0x8a4a14), hex(0xc9822f)),
    ]);
    let level = point(centre.x, centre.y + radius * tilt * 0.16);
    let surface = Path::ellipse(level, radius * 0.89, radius * tilt * 0.76, 0.0);
    let seed = random.next_u64();
    let swirl = random.float_between(2.0, 5.0);
    canvas.paint_path(&surface, |place| {
        let d = point(
            (place.x - level.x) / radius,
            (place.y - level.y) / (radius * tilt),
        );
        let far = d.length();
        let turned = d.rotate_by(far * swirl);
        let foam = noise::layered_noise(turned.x * 2.2 + 5.0, turned.y * 2.2, 4, seed);
        let ring = crate::paint::math::smooth_step(0.62, 0.8, far);
        dark.mix_with(
            pale,
            (crate::paint::math::smooth_step(0.45, 0.72, foam) * 0.8).max(ring * 0.75),
        )
        .lit_by(light.colour)
    });
    // Steam: two faint wisps.
    for wisp in 0..2 {
        let x = centre.x + (wisp as f32 - 0.5) * radius * 0.7;
        let phase = random.float_between(0.0, 6.0);
        let line: Vec<Point> = (0..7)
            .map(|i| {
                let t = i as f32 / 6.0;
                point(
                    x + sin(phase + t * 7.0) * radius * 0.22 * (0.4 + t),
                    level.y - 0.02 - t * radius * 1.9,
                )
            })
            .collect();
        let mask = canvas
            .rasterise_path(&Path::stroked_line(&line, radius * 0.09, radius * 0.03))
            .blur_by(radius * 0.13 * canvas.scale());
        let (from, to) = (level.y, level.y - radius * 2.0);
        canvas.blend_mask(&mask, |place, below| {
            let fade = crate::paint::math::smooth_step(to, from, place.y);
            below.mix_with(WHITE, 0.42 * fade)
        });
    }
}

fn paint_biscuits(canvas: &mut Canvas, random: &mut Random, light: &Light, foot: Point, size: f32) {
    let side = random.next_sign();
    let dough: Colour = random.choose_from(&[hex(0xd9a55f), hex(0xb87b3f), hex(0x6e452a)]);
    for i in 0..2 {
        let at = point(
            foot.x + side * size * (1.28 + 0.10 * i as f32),
            foot.y + size * (0.06 - 0.13 * i as f32),
        );
        let shape = Path::ellipse(at, size * 0.34, size * 0.15, side * 0.2);
        canvas.cast_shadow(&shape, point(0.006, 0.012), 0.008, 0.6);
        canvas.fill_path(
            &shape.clone().map_points(|p| point(p.x, p.y + size * 0.05)),
            dough.scale_by(0.72).lit_by(light.colour),
        );
        canvas.fill_path(&shape, dough.lit_by(light.colour));
        for _ in 0..7 {
            let spot = at
                + point(
                    random.float_around(size * 0.24),
                    random.float_around(size * 0.09),
                );
            canvas.fill_path(
                &Path::ellipse(spot, size * 0.03, size * 0.02, 0.0),
                dough.scale_by(0.55),
            );
        }
    }
}
