//! A table in front of a wall, on which the still lifes are arranged.

use crate::paint::colour::{WHITE, hex, oklch, sample_gradient};
use crate::paint::math::{cos, lerp, smooth_step};
use crate::paint::noise;
use crate::paint::{Canvas, Colour, Light, Path, Point, Random, point};

/// Paints wall and table, out of focus. Returns the height of the table's far edge.
pub fn paint_table(canvas: &mut Canvas, random: &mut Random, light: &Light) -> f32 {
    let edge = random.float_between(0.50, 0.60);
    paint_wall(canvas, random, light, edge);
    paint_top(canvas, random, light, edge);
    canvas.blur_all(0.006);
    edge
}

/// Paints the shadow where an object of half-width `radius` and height `height` stands.
pub fn paint_contact_shadow(
    canvas: &mut Canvas,
    light: &Light,
    foot: Point,
    radius: f32,
    height: f32,
) {
    let away = light.shadow_offset(height);
    // A long soft shadow leaning away from the light, and a dark line of contact.
    let long = Path::ellipse(
        foot + away * 0.5,
        radius + away.x.abs() * 0.5,
        radius * 0.30,
        if away.x > 0.0 { 0.06 } else { -0.06 },
    );
    canvas.cast_shadow(&long, point(0.0, 0.0), 0.022, 0.60);
    let contact = Path::ellipse(foot, radius * 0.95, radius * 0.22, 0.0);
    canvas.cast_shadow(&contact, point(0.0, 0.004), 0.008, 0.65);
}

fn paint_wall(canvas: &mut Canvas, random: &mut Random, light: &Light, edge: f32) {
    let wall: Colour = random.choose_from(&[
        oklch(0.86, 0.045, 85.0),
        oklch(0.76, 0.050, 150.0),
        oklch(0.62, 0.060, 245.0),
        oklch(0.74, 0.075, 45.0),
        oklch(0.80, 0.015, 250.0),
        oklch(0.48, 0.055, 200.0),
        oklch(0.80, 0.050, 350.0),
        oklch(0.42, 0.035, 300.0),
    ]);
    let bright = point(
        canvas.width() * (0.5 + 0.6 * light.towards.x),
        0.5 + 0.5 * light.towards.y,
    );
    let seed = random.next_u64();
    canvas.paint_all(|place| {
        let far = (place - bright).length();
        let plaster = noise::layered_noise(place.x * 9.0, place.y * 9.0, 3, seed) - 0.5;
        wall.lit_by(light.colour)
            .scale_by(1.16 - 0.42 * smooth_step(0.0, 1.3, far) + 0.05 * plaster)
    });
    if random.next_bool(0.55) {
        paint_window_light(canvas, random, light, edge);
    }
}

/// Paints slanting panes of sunlight on the wall.
fn paint_window_light(canvas: &mut Canvas, random: &mut Random, light: &Light, edge: f32) {
    let lean = -light.towards.x.signum() * random.float_between(0.12, 0.3);
    let left = canvas.width() * random.float_between(0.15, 0.5);
    let (pane, gap) = (random.float_between(0.14, 0.2), 0.025);
    for column in 0..2 {
        for row in 0..2 {
            let x = left + column as f32 * (pane + gap);
            let y = edge - 0.52 + row as f32 * (pane * 1.25 + gap);
            let corner = |dx: f32, dy: f32| point(x + dx + (y + dy) * lean, y + dy);
            let shape = Path::polygon(&[
                corner(0.0, 0.0),
                corner(pane, 0.0),
                corner(pane, pane * 1.25),
                corner(0.0, pane * 1.25),
            ]);
            let soft = canvas
                .rasterise_path(&shape)
                .blur_by(0.012 * canvas.scale());
            canvas.blend_mask(&soft, |_, below| {
                below.scale_by(1.14).add_light(light.colour.scale_by(0.045))
            });
        }
    }
}

fn paint_top(canvas: &mut Canvas, random: &mut Random, light: &Light, edge: f32) {
    let width = canvas.width();
    let top = Path::rectangle(-0.1, edge, width + 0.1, 1.1);
    let seed = random.next_u64();
    let shine = point(width * (0.5 + 0.5 * light.towards.x), edge);
    let lighting = move |place: Point| {
        let near = (place - shine).length();
        1.12 - 0.34 * smooth_step(0.0, 1.2, near)
    };
    // The distance of a place on the table from the viewer: rows get denser towards the far edge.
    let depth = move |y: f32| 1.0 / (0.35 + (y - edge) * 1.6);
    match random.int_between(0, 2) {
        0 => {
            let wood: Colour = random.choose_from(&[
                hex(0xb98555),
                hex(0x8a5a38),
                hex(0xd2a878),
                hex(0x6b4630),
                hex(0xc99a6b),
            ]);
            canvas.paint_path(&top, |place| {
                let d = depth(place.y);
                let board = (d * 2.6).floor();
                let x = (place.x - width / 2.0) * d + board * 7.3;
                let fibre = noise::layered_noise(x * 2.2, d * 60.0, 4, seed);
                let ring = noise::layered_noise(x * 0.9, d * 9.0, 2, seed ^ 5);
                let tone = noise::random_cell(board as i32, 3, seed);
                let seam = ((d * 2.6 - board) * 22.0).min(1.0);
                let shade = 0.80 + 0.24 * fibre + 0.14 * ring + 0.10 * (tone - 0.5);
                wood.lit_by(light.colour)
                    .scale_by(shade * lighting(place) * lerp(0.72, 1.0, seam))
            });
        }
        1 => {
            let cloth = oklch(0.90, 0.02, random.float_between(0.0, 360.0));
            let stripe = oklch(0.62, 0.11, random.float_between(0.0, 360.0));
            let checked = random.next_bool(0.6);
            canvas.paint_path(&top, |place| {
                let d = depth(place.y);
                let across = (place.x - width / 2.0) * d * 34.0;
                let line = |t: f32| smooth_step(0.25, 0.55, cos(t));
                let mut weave = line(across) * 0.5;
                if checked {
                    weave += line(d * 32.0) * 0.5;
                }
                let thread = noise::smooth_noise(place.x * 260.0, place.y * 260.0, seed) - 0.5;
                let fold = noise::layered_noise(place.x * 3.0, place.y * 5.0, 2, seed) - 0.5;
                cloth
                    .mix_with(stripe, weave)
                    .lit_by(light.colour)
                    .scale_by(lighting(place) * (1.0 + 0.05 * thread + 0.10 * fold))
            });
        }
        _ => {
            let stone = [
                (0.0, oklch(0.93, 0.008, 90.0)),
                (0.5, oklch(0.88, 0.010, 260.0)),
                (1.0, oklch(0.62, 0.015, 260.0)),
            ];
            canvas.paint_path(&top, |place| {
                let d = depth(place.y);
                let x = (place.x - width / 2.0) * d;
                let bend = noise::layered_noise(x * 2.0, d * 3.0, 4, seed);
                let vein =
                    (noise::layered_noise(x * 3.0 + bend * 3.0, d * 4.0 + bend, 4, seed ^ 9) - 0.5)
                        .abs();
                sample_gradient(&reverse_stops(&stone), smooth_step(0.0, 0.09, vein))
                    .lit_by(light.colour)
                    .scale_by(lighting(place))
            });
        }
    }
    // The far edge catches a line of light.
    let rim = Path::rectangle(-0.1, edge - 0.002, width + 0.1, edge + 0.003);
    canvas.glaze_path(&rim, WHITE, 0.18);
}

fn reverse_stops(stops: &[(f32, Colour); 3]) -> [(f32, Colour); 3] {
    [(0.0, stops[2].1), (0.5, stops[1].1), (1.0, stops[0].1)]
}
