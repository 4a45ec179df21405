//! Object: hot-air balloons over a wide land.

use super::sky;
use crate::paint::colour::{Colour, WHITE, hex, oklch};
use crate::paint::math::{TAU, lerp, sin};
use crate::paint::shade::{paint_lathe, profile_radius};
use crate::paint::{Canvas, Light, Path, Point, Random, noise, point};

pub fn paint_balloons(canvas: &mut Canvas, random: &mut Random) {
    let hour = if random.next_bool(0.3) {
        sky::random_evening(random)
    } else {
        sky::random_day(random)
    };
    let width = canvas.width();
    sky::paint_sky(canvas, random, &hour, 0.86, 0.2);
    for _ in 0..random.int_between(1, 3) {
        let at = point(
            width * random.next_fraction(),
            random.float_between(0.3, 0.68),
        );
        let size = random.float_between(0.07, 0.13);
        sky::paint_cloud(canvas, random, &hour, at, size);
    }
    paint_land(canvas, random, &hour);
    let light = Light {
        towards: point(random.next_sign() * 0.7, -0.5),
        height: 0.8,
        colour: hour.light.mix_white(0.45),
        ambient: 0.46,
    };
    let small = random.int_between(1, 3);
    for i in 0..small {
        let t = (i as f32 + 0.5) / small as f32;
        let at = point(
            width * (0.08 + 0.84 * t) + random.float_around(0.06),
            random.float_between(0.22, 0.5),
        );
        let size = random.float_between(0.055, 0.095);
        paint_balloon(canvas, random, &light, at, size);
    }
    canvas.blur_all(0.0016);
    let at = point(
        width * random.float_between(0.34, 0.66),
        random.float_between(0.36, 0.44),
    );
    let size = random.float_between(0.21, 0.27);
    paint_balloon(canvas, random, &light, at, size);
}

fn paint_land(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour) {
    let width = canvas.width();
    for layer in 0..3 {
        let near = layer as f32 / 2.0;
        let base = lerp(0.83, 0.93, near);
        let seed = random.next_u64();
        let phase = random.float_between(0.0, TAU);
        let tone = oklch(
            lerp(0.62, 0.52, near),
            0.09,
            random.float_between(95.0, 150.0),
        )
        .lit_by(hour.light)
        .mix_with(hour.horizon, 0.5 * (1.0 - near));
        let height = |x: f32| {
            base - 0.025 * sin(x * 3.0 + phase) - 0.05 * noise::layered_noise(x * 4.0, 0.0, 3, seed)
        };
        canvas.paint_path(
            &Path::area_under(-0.05, width + 0.05, 1.1, height),
            |place| {
                let texture = noise::layered_noise(place.x * 40.0, place.y * 90.0, 3, seed) - 0.5;
                tone.scale_by(1.05 + 0.2 * texture - 0.8 * (place.y - height(place.x)))
            },
        );
    }
}

/// Paints a balloon with its basket; `middle` is the middle of the envelope.
fn paint_balloon(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    middle: Point,
    radius: f32,
) {
    let shape = [
        0.0, 0.56, 0.80, 0.93, 0.99, 1.0, 0.95, 0.85, 0.70, 0.52, 0.34, 0.20,
    ];
    let (top, bottom) = (middle.y - radius * 1.05, middle.y + radius * 1.30);
    let hue = random.float_between(0.0, 360.0);
    let first = oklch(0.64, 0.19, hue);
    let second = random.choose_from(&[
        hex(0xfff6e2),
        oklch(0.82, 0.14, hue + 60.0),
        oklch(0.50, 0.14, hue + 190.0),
    ]);
    let style = random.int_between(0, 3);
    // Seams of the gores across the front, as sines of even angles.
    let seams: Vec<f32> = (0..=10)
        .map(|i| sin((i as f32 / 10.0 - 0.5) * TAU / 2.0))
        .collect();
    let gore = |u: f32| seams.iter().filter(|seam| **seam < u).count();
    paint_ropes(canvas, middle, radius, bottom);
    paint_lathe(
        canvas,
        light,
        middle.x,
        (top, bottom),
        0.12,
        0.35,
        |t| radius * profile_radius(&shape, t),
        |u, t| {
            let seam = seams
                .iter()
                .map(|seam| (u - seam).abs())
                .fold(1.0, f32::min);
            let stripe = gore(u).is_multiple_of(2);
            let colour: Colour = match style {
                0 => {
                    if stripe {
                        first
                    } else {
                        second
                    }
                }
                1 => {
                    if (t * 7.0) as i32 % 2 == 0 {
                        first
                    } else {
                        second
                    }
                }
                2 => {
                    let zigzag = (t * 9.0 + if stripe { 0.5 } else { 0.0 }) as i32 % 3;
                    if zigzag == 0 { second } else { first }
                }
                _ => {
                    if (0.42..0.56).contains(&t) {
                        second
                    } else if stripe {
                        first
                    } else {
                        first.scale_by(0.85)
                    }
                }
            };
            colour.scale_by(if seam < 0.012 { 0.86 } else { 1.0 })
        },
    );
    paint_basket(canvas, light, middle.x, radius, bottom);
}

fn paint_ropes(canvas: &mut Canvas, middle: Point, radius: f32, bottom: f32) {
    for side in [-1.0, -0.35, 0.35, 1.0] {
        let line = [
            point(middle.x + side * radius * 0.19, bottom - radius * 0.03),
            point(middle.x + side * radius * 0.115, bottom + radius * 0.33),
        ];
        canvas.fill_path(
            &Path::stroked_line(&line, radius * 0.008, radius * 0.008),
            hex(0x4a3b30),
        );
    }
}

fn paint_basket(canvas: &mut Canvas, light: &Light, x: f32, radius: f32, bottom: f32) {
    let (left, right) = (x - radius * 0.13, x + radius * 0.13);
    let (top, foot) = (bottom + radius * 0.30, bottom + radius * 0.50);
    let straw = hex(0xa8713d).lit_by(light.colour);
    canvas.paint_path(
        &Path::rounded_rectangle(left, top, right, foot, radius * 0.04),
        |place| {
            let across = (place.x - x) / (radius * 0.13);
            let weave =
                sin(place.y * 260.0 / (radius * 4.0)) * sin(place.x * 260.0 / (radius * 4.0));
            straw.scale_by(0.88 + 0.25 * across * light.towards.x.signum() + 0.10 * weave)
        },
    );
    canvas.fill_path(
        &Path::rounded_rectangle(
            left - radius * 0.015,
            top - radius * 0.015,
            right + radius * 0.015,
            top + radius * 0.03,
            radius * 0.02,
        ),
        straw.scale_by(0.62),
    );
    let flame = point(x, bottom + radius * 0.08);
    canvas.add_glow(flame, radius * 0.3, hex(0xffc860), 0.6);
    canvas.glaze_path(
        &Path::ellipse(flame, radius * 0.025, radius * 0.07, 0.0),
        WHITE,
        0.7,
    );
}
