//! Still life: fruit on a table, sometimes in a bowl.

use super::table;
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{TAU, on_circle, smooth_step};
use crate::paint::shade::{paint_ball, paint_lathe, profile_radius};
use crate::paint::{Canvas, Light, Path, Point, Random, noise, point};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fruit {
    RedApple,
    GreenApple,
    Orange,
    Lemon,
    Pear,
    Plum,
}

pub fn paint_fruit_scene(canvas: &mut Canvas, random: &mut Random) {
    let light = Light::indoors(random);
    let edge = table::paint_table(canvas, random, &light);
    let middle = canvas.width() / 2.0;
    let kinds = pick_kinds(random);
    let size = random.float_between(0.138, 0.162);
    if random.next_bool(0.5) {
        let size = size.min(canvas.width() / 5.2);
        paint_bowl(
            canvas,
            random,
            &light,
            point(middle, edge + 0.30),
            &kinds,
            size,
        );
        let loose_fruit = random.int_between(0, 2);
        for i in 0..loose_fruit {
            let side = if i == 0 { -1.0 } else { 1.0 };
            let foot = point(
                middle + side * random.float_between(0.42, 0.48).min(middle - size * 1.15),
                edge + random.float_between(0.3, 0.36),
            );
            paint_standing_fruit(canvas, random, &light, random_kind(&kinds, i), foot, size);
        }
        return;
    }
    let count = random.int_between(3, 5);
    let size = size.min(canvas.width() / (1.9 * count as f32));
    let mut feet: Vec<Point> = (0..count)
        .map(|i| {
            let t = (i as f32 + 0.5) / count as f32 - 0.5;
            let back = if i % 2 == 0 { 0.12 } else { 0.30 };
            point(
                middle + t * size * 1.75 * count as f32 + random.float_around(0.02),
                edge + back + random.float_around(0.03),
            )
        })
        .collect();
    feet.sort_by(|a, b| a.y.total_cmp(&b.y));
    for (i, foot) in feet.into_iter().enumerate() {
        paint_standing_fruit(
            canvas,
            random,
            &light,
            random_kind(&kinds, i as u32),
            foot,
            size,
        );
    }
}

fn pick_kinds(random: &mut Random) -> Vec<Fruit> {
    const ALL: [Fruit; 6] = [
        Fruit::RedApple,
        Fruit::GreenApple,
        Fruit::Orange,
        Fruit::Lemon,
        Fruit::Pear,
        Fruit::Plum,
    ];
    let start = random.int_between(0, 5) as usize;
    let step = random.choose_from(&[1usize, 5]);
    (0..3).map(|i| ALL[(start + i * step) % 6]).collect()
}

fn random_kind(kinds: &[Fruit], i: u32) -> Fruit {
    kinds[i as usize % kinds.len()]
}

fn paint_bowl(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    foot: Point,
    kinds: &[Fruit],
    size: f32,
) {
    let glaze: Colour = random.choose_from(&[
        hex(0x3f6a8a),
        hex(0xe8dfcf),
        hex(0x7b8f6a),
        hex(0xb5583c),
        hex(0x2f3a4a),
    ]);
    let (radius, height) = (size * 2.25, size * 1.25);
    let rim_y = foot.y - height;
    table::paint_contact_shadow(canvas, light, foot, radius * 0.62, height);
    let band = random.next_bool(0.5);
    let wall = |t: f32| radius * profile_radius(&[1.0, 0.99, 0.94, 0.84, 0.66, 0.42], t);
    paint_lathe(
        canvas,
        light,
        foot.x,
        (rim_y, foot.y),
        0.2,
        0.8,
        wall,
        |_, t| {
            if band && (0.22..0.34).contains(&t) {
                glaze.mix_white(0.5)
            } else {
                glaze
            }
        },
    );
    let rim = Path::ellipse(point(foot.x, rim_y), radius, radius * 0.24, 0.0);
    canvas.fill_path(&rim, glaze.scale_by(0.55));
    let empty = canvas.clone();
    // Fruit from back to front.
    for (i, (dx, dy)) in [
        (-0.95, -0.28),
        (0.05, -0.42),
        (0.98, -0.26),
        (-0.48, 0.22),
        (0.52, 0.24),
    ]
    .into_iter()
    .enumerate()
    {
        let at = point(foot.x + dx * size, rim_y + dy * size);
        let kind = random_kind(kinds, i as u32);
        paint_fruit(canvas, random, light, kind, at, size * 0.9);
    }
    // The near wall of the bowl, from the near half of the rim down, covers the lower part of the fruit.
    let near: Vec<Point> = (0..=24)
        .map(|i| {
            let on = on_circle(i as f32 / 48.0 * TAU);
            point(foot.x + on.x * radius, rim_y + on.y * radius * 0.24)
        })
        .collect();
    let mut below = near.clone();
    below.push(point(foot.x - radius, foot.y + radius));
    below.push(point(foot.x + radius, foot.y + radius));
    let below = canvas.rasterise_path(&Path::polygon(&below));
    canvas.blend_mask(&below, |place, _| empty.colour_at(place));
    canvas.fill_path(
        &Path::stroked_line(&near, 0.006, 0.006),
        glaze.mix_white(0.25).lit_by(light.colour),
    );
}

fn paint_standing_fruit(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    kind: Fruit,
    foot: Point,
    size: f32,
) {
    let size = size * random.float_between(0.9, 1.08);
    table::paint_contact_shadow(canvas, light, foot, size * 0.85, size * 1.6);
    paint_fruit(
        canvas,
        random,
        light,
        kind,
        point(foot.x, foot.y - size * 0.86),
        size,
    );
}

/// Paints one fruit around `centre`, with a radius of about `size`.
fn paint_fruit(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    kind: Fruit,
    centre: Point,
    size: f32,
) {
    let seed = random.next_u64();
    match kind {
        Fruit::RedApple => paint_apple(
            canvas,
            random,
            light,
            centre,
            size,
            (hex(0xb3202a), hex(0xe9b44c)),
            seed,
        ),
        Fruit::GreenApple => paint_apple(
            canvas,
            random,
            light,
            centre,
            size,
            (hex(0x86b03c), hex(0xd8dc7a)),
            seed,
        ),
        Fruit::Orange => paint_orange(canvas, random, light, centre, size, seed),
        Fruit::Lemon => {
            let shape = [
                0.0, 0.12, 0.17, 0.50, 0.74, 0.80, 0.74, 0.48, 0.16, 0.11, 0.0,
            ];
            let lean = random.next_sign();
            paint_lemon(canvas, light, centre, size, &shape, lean, seed);
        }
        Fruit::Pear => paint_pear(canvas, random, light, centre, size, seed),
        Fruit::Plum => paint_plum(canvas, random, light, centre, size, seed),
    }
}

fn paint_orange(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    centre: Point,
    size: f32,
    seed: u64,
) {
    paint_ball(
        canvas,
        light,
        centre,
        size * 0.96,
        size * 0.93,
        0.55,
        |u, v| {
            let pores = noise::smooth_noise(u * 26.0, v * 26.0, seed);
            hex(0xf08a1d).scale_by(0.93 + 0.10 * pores)
        },
    );
    let navel = point(
        centre.x + random.float_around(size * 0.3),
        centre.y - size * 0.78,
    );
    canvas.fill_path(
        &Path::ellipse(navel, size * 0.09, size * 0.045, 0.0),
        hex(0x5d6b2a),
    );
}

fn paint_pear(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    centre: Point,
    size: f32,
    seed: u64,
) {
    let skin = oklch(
        random.float_between(0.74, 0.82),
        0.14,
        random.float_between(105.0, 122.0),
    );
    let blush = oklch(0.64, 0.15, 50.0);
    let shape = [0.06, 0.26, 0.34, 0.40, 0.54, 0.76, 0.90, 0.92, 0.80, 0.46];
    let span = (centre.y - size * 1.35, centre.y + size * 0.80);
    paint_lathe(
        canvas,
        light,
        centre.x,
        span,
        0.16,
        0.5,
        |t| size * profile_radius(&shape, t),
        |u, t| {
            let speck = noise::smooth_noise(u * 30.0, t * 60.0, seed);
            let red = smooth_step(
                0.3,
                0.9,
                noise::layered_noise(u * 1.2 + 2.0, t * 2.0, 2, seed),
            ) * 0.6;
            skin.mix_with(blush, red)
                .scale_by(if speck > 0.86 { 0.86 } else { 1.0 })
        },
    );
    paint_stem(
        canvas,
        random,
        point(centre.x, centre.y - size * 1.32),
        size,
    );
}

fn paint_plum(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    centre: Point,
    size: f32,
    seed: u64,
) {
    let skin = oklch(0.36, 0.12, random.float_between(310.0, 345.0));
    paint_ball(
        canvas,
        light,
        centre,
        size * 0.80,
        size * 0.86,
        0.5,
        |u, v| {
            let bloom = noise::layered_noise(u * 2.0, v * 2.0, 3, seed);
            let crease = smooth_step(0.0, 0.10, (u - 0.25 + 0.2 * v * v).abs());
            skin.mix_with(
                oklch(0.62, 0.06, 285.0),
                0.42 * smooth_step(0.42, 0.75, bloom),
            )
            .scale_by(0.75 + 0.25 * crease)
        },
    );
    paint_stem(
        canvas,
        random,
        point(centre.x, centre.y - size * 0.8),
        size * 0.8,
    );
}

fn paint_apple(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    centre: Point,
    size: f32,
    (skin, blush): (Colour, Colour),
    seed: u64,
) {
    let shape = [0.16, 0.68, 0.91, 0.99, 1.0, 0.97, 0.90, 0.79, 0.61, 0.30];
    let span = (centre.y - size * 0.86, centre.y + size * 0.78);
    let side = random.float_between(-0.6, 0.6);
    paint_lathe(
        canvas,
        light,
        centre.x,
        span,
        0.18,
        0.75,
        |t| size * profile_radius(&shape, t),
        |u, t| {
            let streak = noise::layered_noise(u * 9.0, t * 1.5, 3, seed);
            let patch = smooth_step(0.55, 0.0, (u - side).abs()) * smooth_step(0.0, 0.5, 1.0 - t);
            skin.mix_with(
                blush,
                (0.9 * patch + 0.6 * (streak - 0.45)).clamp(0.0, 0.85),
            )
        },
    );
    // The hollow around the stem.
    let hollow = Path::ellipse(
        point(centre.x, centre.y - size * 0.80),
        size * 0.30,
        size * 0.10,
        0.0,
    );
    let soft = canvas
        .rasterise_path(&hollow)
        .blur_by(size * 0.05 * canvas.scale());
    canvas.blend_mask(&soft, |_, below| below.scale_by(0.62));
    paint_stem(
        canvas,
        random,
        point(centre.x, centre.y - size * 0.80),
        size,
    );
    if random.next_bool(0.6) {
        let side = random.next_sign();
        let root = point(centre.x, centre.y - size * 0.92);
        paint_leaf(canvas, light, root, point(side * size * 0.62, -size * 0.22));
    }
}

/// Paints a leaf from `root` to `root + reach`.
pub fn paint_leaf(canvas: &mut Canvas, light: &Light, root: Point, reach: Point) {
    let across = point(-reach.y, reach.x) * 0.26;
    let shape = Path::smooth_closed(&[
        root,
        root + reach * 0.35 + across,
        root + reach * 0.75 + across * 0.7,
        root + reach,
        root + reach * 0.75 - across * 0.7,
        root + reach * 0.35 - across,
    ]);
    let green = hex(0x4f7d37).lit_by(light.colour);
    canvas.paint_path(&shape, |place| {
        let side = (place - root).dot(across);
        green.scale_by(if side > 0.0 { 0.88 } else { 1.16 })
    });
    canvas.glaze_path(
        &Path::stroked_line(
            &[root, root + reach * 0.5, root + reach * 0.95],
            0.0018,
            0.0008,
        ),
        hex(0xc5d39a),
        0.7,
    );
}

fn paint_stem(canvas: &mut Canvas, random: &mut Random, root: Point, size: f32) {
    let lean = random.float_around(size * 0.25);
    let path = Path::stroked_line(
        &[
            root,
            point(root.x + lean * 0.4, root.y - size * 0.16),
            point(root.x + lean, root.y - size * 0.32),
        ],
        size * 0.035,
        size * 0.05,
    );
    canvas.fill_path(&path, hex(0x5b4025));
}

/// Paints a lemon: a solid of revolution whose axis is nearly horizontal.
fn paint_lemon(
    canvas: &mut Canvas,
    light: &Light,
    centre: Point,
    size: f32,
    shape: &[f32],
    lean: f32,
    seed: u64,
) {
    let angle = lean * 0.3;
    let half = size * 1.22;
    let radius = |t: f32| size * profile_radius(shape, t);
    let centre = point(centre.x, centre.y + size * 0.10);
    let mut contour = Vec::new();
    for i in 0..=60 {
        let t = i as f32 / 60.0;
        contour.push(point((t * 2.0 - 1.0) * half, -radius(t)));
    }
    for i in (0..=60).rev() {
        let t = i as f32 / 60.0;
        contour.push(point((t * 2.0 - 1.0) * half, radius(t)));
    }
    let outline = Path {
        contours: vec![contour],
    }
    .place_at(centre, 1.0, angle);
    canvas.paint_path(&outline, |place| {
        let local = (place - centre).rotate_by(-angle);
        let t = (local.x / half + 1.0) / 2.0;
        let r = radius(t).max(1e-4);
        let v = (local.y / r).clamp(-1.0, 1.0);
        let slope = (radius(t + 0.02) - radius(t - 0.02)) / (0.08 * half);
        let depth = (1.0 - v * v).sqrt();
        let length = (1.0 + slope * slope).sqrt();
        let turned = point(-slope / length, v / length).rotate_by(angle);
        let pores = noise::smooth_noise(local.x * 26.0 / size, local.y * 26.0 / size, seed);
        crate::paint::shade::shade_surface(
            light,
            hex(0xf4cf3a).scale_by(0.93 + 0.10 * pores),
            (turned.x, turned.y, depth / length),
            0.5,
        )
    });
}
