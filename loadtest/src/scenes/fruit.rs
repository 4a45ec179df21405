//! Still life: fruit on a table, sometimes in a bowl.

use super::table;
use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{TURN, on_circle, smooth};
use crate::paint::shade::{ball, lathe, profile};
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

/// Paints the scene.
pub fn paint(canvas: &mut Canvas, random: &mut Random) {
    let light = Light::indoors(random);
    let edge = table::set(canvas, random, &light);
    let middle = canvas.width() / 2.0;
    let kinds = pick_kinds(random);
    let size = random.between(0.138, 0.162);
    if random.chance(0.5) {
        let size = size.min(canvas.width() / 5.2);
        bowl(
            canvas,
            random,
            &light,
            point(middle, edge + 0.30),
            &kinds,
            size,
        );
        let beside = random.whole(0, 2);
        for i in 0..beside {
            let side = if i == 0 { -1.0 } else { 1.0 };
            let foot = point(
                middle + side * random.between(0.42, 0.48).min(middle - size * 1.15),
                edge + random.between(0.3, 0.36),
            );
            standing(canvas, random, &light, random_kind(&kinds, i), foot, size);
        }
        return;
    }
    let count = random.whole(3, 5);
    let size = size.min(canvas.width() / (1.9 * count as f32));
    let mut feet: Vec<Point> = (0..count)
        .map(|i| {
            let t = (i as f32 + 0.5) / count as f32 - 0.5;
            let back = if i % 2 == 0 { 0.12 } else { 0.30 };
            point(
                middle + t * size * 1.75 * count as f32 + random.around(0.02),
                edge + back + random.around(0.03),
            )
        })
        .collect();
    feet.sort_by(|a, b| a.y.total_cmp(&b.y));
    for (i, foot) in feet.into_iter().enumerate() {
        standing(
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
    let start = random.whole(0, 5) as usize;
    let step = random.choose(&[1usize, 5]);
    (0..3).map(|i| ALL[(start + i * step) % 6]).collect()
}

fn random_kind(kinds: &[Fruit], i: u32) -> Fruit {
    kinds[i as usize % kinds.len()]
}

fn bowl(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    foot: Point,
    kinds: &[Fruit],
    size: f32,
) {
    let glaze: Colour = random.choose(&[
        hex(0x3f6a8a),
        hex(0xe8dfcf),
        hex(0x7b8f6a),
        hex(0xb5583c),
        hex(0x2f3a4a),
    ]);
    let (radius, height) = (size * 2.25, size * 1.25);
    let rim_y = foot.y - height;
    table::ground(canvas, light, foot, radius * 0.62, height);
    let band = random.chance(0.5);
    let wall = |t: f32| radius * profile(&[1.0, 0.99, 0.94, 0.84, 0.66, 0.42], t);
    lathe(
        canvas,
        light,
        foot.x,
        (rim_y, foot.y),
        0.2,
        0.8,
        wall,
        |_, t| {
            if band && (0.22..0.34).contains(&t) {
                glaze.lighter(0.5)
            } else {
                glaze
            }
        },
    );
    let rim = Path::ellipse(point(foot.x, rim_y), radius, radius * 0.24, 0.0);
    canvas.fill(&rim, glaze.times(0.55));
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
        one(canvas, random, light, kind, at, size * 0.9);
    }
    // The near wall, from the near half of the rim down, hides the lower part of the fruit again.
    let near: Vec<Point> = (0..=24)
        .map(|i| {
            let on = on_circle(i as f32 / 48.0 * TURN);
            point(foot.x + on.x * radius, rim_y + on.y * radius * 0.24)
        })
        .collect();
    let mut below = near.clone();
    below.push(point(foot.x - radius, foot.y + radius));
    below.push(point(foot.x + radius, foot.y + radius));
    let below = canvas.mask(&Path::polygon(&below));
    canvas.blend(&below, |place, _| empty.at(place));
    canvas.fill(
        &Path::stroke(&near, 0.006, 0.006),
        glaze.lighter(0.25).under(light.colour),
    );
}

fn standing(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    kind: Fruit,
    foot: Point,
    size: f32,
) {
    let size = size * random.between(0.9, 1.08);
    table::ground(canvas, light, foot, size * 0.85, size * 1.6);
    one(
        canvas,
        random,
        light,
        kind,
        point(foot.x, foot.y - size * 0.86),
        size,
    );
}

/// One fruit around `centre`, of about `size` in radius.
fn one(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    kind: Fruit,
    centre: Point,
    size: f32,
) {
    let seed = random.bits();
    match kind {
        Fruit::RedApple => apple(
            canvas,
            random,
            light,
            centre,
            size,
            (hex(0xb3202a), hex(0xe9b44c)),
            seed,
        ),
        Fruit::GreenApple => apple(
            canvas,
            random,
            light,
            centre,
            size,
            (hex(0x86b03c), hex(0xd8dc7a)),
            seed,
        ),
        Fruit::Orange => {
            ball(
                canvas,
                light,
                centre,
                size * 0.96,
                size * 0.93,
                0.55,
                |u, v| {
                    let pores = noise::value(u * 26.0, v * 26.0, seed);
                    hex(0xf08a1d).times(0.93 + 0.10 * pores)
                },
            );
            let navel = point(centre.x + random.around(size * 0.3), centre.y - size * 0.78);
            canvas.fill(
                &Path::ellipse(navel, size * 0.09, size * 0.045, 0.0),
                hex(0x5d6b2a),
            );
        }
        Fruit::Lemon => {
            let shape = [
                0.0, 0.12, 0.17, 0.50, 0.74, 0.80, 0.74, 0.48, 0.16, 0.11, 0.0,
            ];
            let lean = random.sign();
            lemon(canvas, light, centre, size, &shape, lean, seed);
        }
        Fruit::Pear => {
            let skin = oklch(
                random.between(0.74, 0.82),
                0.14,
                random.between(105.0, 122.0),
            );
            let blush = oklch(0.64, 0.15, 50.0);
            let shape = [0.06, 0.26, 0.34, 0.40, 0.54, 0.76, 0.90, 0.92, 0.80, 0.46];
            let span = (centre.y - size * 1.35, centre.y + size * 0.80);
            lathe(
                canvas,
                light,
                centre.x,
                span,
                0.16,
                0.5,
                |t| size * profile(&shape, t),
                |u, t| {
                    let speck = noise::value(u * 30.0, t * 60.0, seed);
                    let red =
                        smooth(0.3, 0.9, noise::layers(u * 1.2 + 2.0, t * 2.0, 2, seed)) * 0.6;
                    skin.mix(blush, red)
                        .times(if speck > 0.86 { 0.86 } else { 1.0 })
                },
            );
            stem(
                canvas,
                random,
                point(centre.x, centre.y - size * 1.32),
                size,
            );
        }
        Fruit::Plum => {
            let skin = oklch(0.36, 0.12, random.between(310.0, 345.0));
            ball(
                canvas,
                light,
                centre,
                size * 0.80,
                size * 0.86,
                0.5,
                |u, v| {
                    let bloom = noise::layers(u * 2.0, v * 2.0, 3, seed);
                    let crease = smooth(0.0, 0.10, (u - 0.25 + 0.2 * v * v).abs());
                    skin.mix(oklch(0.62, 0.06, 285.0), 0.42 * smooth(0.42, 0.75, bloom))
                        .times(0.75 + 0.25 * crease)
                },
            );
            stem(
                canvas,
                random,
                point(centre.x, centre.y - size * 0.8),
                size * 0.8,
            );
        }
    }
}

fn apple(
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
    let side = random.between(-0.6, 0.6);
    lathe(
        canvas,
        light,
        centre.x,
        span,
        0.18,
        0.75,
        |t| size * profile(&shape, t),
        |u, t| {
            let streak = noise::layers(u * 9.0, t * 1.5, 3, seed);
            let patch = smooth(0.55, 0.0, (u - side).abs()) * smooth(0.0, 0.5, 1.0 - t);
            skin.mix(
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
    let soft = canvas.mask(&hollow).blurred(size * 0.05 * canvas.scale());
    canvas.blend(&soft, |_, below| below.times(0.62));
    stem(
        canvas,
        random,
        point(centre.x, centre.y - size * 0.80),
        size,
    );
    if random.chance(0.6) {
        let side = random.sign();
        let root = point(centre.x, centre.y - size * 0.92);
        leaf(canvas, light, root, point(side * size * 0.62, -size * 0.22));
    }
}

/// A leaf from `root` to `root + reach`.
pub fn leaf(canvas: &mut Canvas, light: &Light, root: Point, reach: Point) {
    let across = point(-reach.y, reach.x) * 0.26;
    let shape = Path::smooth(&[
        root,
        root + reach * 0.35 + across,
        root + reach * 0.75 + across * 0.7,
        root + reach,
        root + reach * 0.75 - across * 0.7,
        root + reach * 0.35 - across,
    ]);
    let green = hex(0x4f7d37).under(light.colour);
    canvas.paint(&shape, |place| {
        let side = (place - root).dot(across);
        green.times(if side > 0.0 { 0.88 } else { 1.16 })
    });
    canvas.glaze(
        &Path::stroke(
            &[root, root + reach * 0.5, root + reach * 0.95],
            0.0018,
            0.0008,
        ),
        hex(0xc5d39a),
        0.7,
    );
}

fn stem(canvas: &mut Canvas, random: &mut Random, root: Point, size: f32) {
    let lean = random.around(size * 0.25);
    let path = Path::stroke(
        &[
            root,
            point(root.x + lean * 0.4, root.y - size * 0.16),
            point(root.x + lean, root.y - size * 0.32),
        ],
        size * 0.035,
        size * 0.05,
    );
    canvas.fill(&path, hex(0x5b4025));
}

/// A lemon lies on its side: a turned shape whose axis is horizontal, leaning a little.
fn lemon(
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
    let radius = |t: f32| size * profile(shape, t);
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
    .placed(centre, 1.0, angle);
    canvas.paint(&outline, |place| {
        let local = (place - centre).turned(-angle);
        let t = (local.x / half + 1.0) / 2.0;
        let r = radius(t).max(1e-4);
        let v = (local.y / r).clamp(-1.0, 1.0);
        let slope = (radius(t + 0.02) - radius(t - 0.02)) / (0.08 * half);
        let depth = (1.0 - v * v).sqrt();
        let length = (1.0 + slope * slope).sqrt();
        let turned = point(-slope / length, v / length).turned(angle);
        let pores = noise::value(local.x * 26.0 / size, local.y * 26.0 / size, seed);
        crate::paint::shade::lit(
            light,
            hex(0xf4cf3a).times(0.93 + 0.10 * pores),
            (turned.x, turned.y, depth / length),
            0.5,
        )
    });
}
