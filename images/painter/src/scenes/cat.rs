//! Object: a cat, sitting or lying.

use super::table;
use crate::paint::colour::{BLACK, Colour, WHITE, hex, oklch};
use crate::paint::math::{TAU, on_circle, sin, smooth_step};
use crate::paint::{Canvas, Light, Path, Point, Random, noise, point};

#[derive(Debug, Clone, Copy)]
struct Coat {
    fur: Colour,
    stripe: Colour,
    chest: Colour,
    /// 0 plain, 1 tabby, 2 patches.
    style: u32,
    seed: u64,
}

pub fn paint_cat_scene(canvas: &mut Canvas, random: &mut Random) {
    let light = Light::indoors(random);
    let edge = table::paint_table(canvas, random, &light);
    let coat = random_coat(random);
    let eyes = random.choose_from(&[hex(0x9bc24b), hex(0xe3b23c), hex(0x6db3c9)]);
    let size = random.float_between(0.40, 0.46);
    let foot = point(
        canvas.width() / 2.0 + random.float_around(0.12),
        (edge + 0.34).min(0.93),
    );
    let facing = random.next_sign();
    paint_cushion(canvas, random, &light, foot, size);
    if random.next_bool(0.6) {
        paint_sitting_body(canvas, random, &light, &coat, foot, size, facing);
        paint_head(
            canvas,
            random,
            &light,
            &coat,
            eyes,
            foot + point(facing * size * 0.05, -size * 1.08),
            size * 0.37,
        );
    } else {
        paint_lying_body(canvas, &light, &coat, foot, size, facing);
        paint_head(
            canvas,
            random,
            &light,
            &coat,
            eyes,
            foot + point(facing * size * 0.62, -size * 0.52),
            size * 0.35,
        );
    }
}

fn random_coat(random: &mut Random) -> Coat {
    let (fur, stripe, chest) = random.choose_from(&[
        (hex(0xe08a3c), hex(0xb45f22), hex(0xfbe8cf)),
        (hex(0x8d8f96), hex(0x5c5f68), hex(0xe8e6e3)),
        (hex(0x3a383d), hex(0x2a282d), hex(0x4a474d)),
        (hex(0xf1e9dc), hex(0xd98f4e), hex(0xfffaf2)),
        (hex(0xa98661), hex(0x6d4f35), hex(0xefe0c8)),
    ]);
    Coat {
        fur,
        stripe,
        chest,
        style: random.int_between(0, 2),
        seed: random.next_u64(),
    }
}

impl Coat {
    /// Returns the colour of the fur at a place given in body sizes, with hairs and markings.
    fn colour_at(&self, d: Point) -> Colour {
        let hair = noise::layered_noise(d.x * 40.0, d.y * 18.0, 3, self.seed) - 0.5;
        let mark = match self.style {
            1 => {
                let bend = noise::layered_noise(d.x * 2.0, d.y * 2.0, 2, self.seed ^ 1);
                smooth_step(0.25, 0.65, sin(d.y * 26.0 + d.x * 5.0 + bend * 9.0)) * 0.85
            }
            2 => smooth_step(
                0.52,
                0.58,
                noise::layered_noise(d.x * 1.9 + 4.0, d.y * 1.9, 2, self.seed ^ 2),
            ),
            _ => 0.0,
        };
        self.fur
            .mix_with(self.stripe, mark)
            .scale_by(1.0 + 0.26 * hair)
    }
}

/// Fills a shape with fur, lit as if it were round: bright on the light's side, dark along the other rim.
fn paint_fur(
    canvas: &mut Canvas,
    light: &Light,
    coat: &Coat,
    shape: &Path,
    origin: Point,
    size: f32,
) {
    let mask = canvas.rasterise_path(shape);
    let scale = canvas.scale();
    let reach = size * 0.16;
    let lit = mask
        .clone()
        .move_by(light.towards * (-reach * scale))
        .blur_by(size * 0.10 * scale);
    let unlit = mask
        .clone()
        .move_by(light.towards * (reach * scale))
        .blur_by(size * 0.10 * scale);
    canvas.blend_mask(&mask, |place, _| {
        let (x, y) = ((place.x * scale) as i32, (place.y * scale) as i32);
        // A moved copy of the mask exposes a rim on the light's side, and one on the other.
        let bright = 1.0 - lit.coverage_at(x, y);
        let dark = 1.0 - unlit.coverage_at(x, y);
        coat.colour_at((place - origin) * (1.0 / size))
            .lit_by(light.colour)
            .scale_by(1.0 + 0.30 * bright - 0.52 * dark)
    });
}

fn paint_cushion(canvas: &mut Canvas, random: &mut Random, light: &Light, foot: Point, size: f32) {
    let colour = oklch(
        random.float_between(0.45, 0.68),
        0.11,
        random.float_between(0.0, 360.0),
    )
    .lit_by(light.colour);
    let centre = foot + point(0.0, size * 0.04);
    let shape = Path::ellipse(centre, size * 1.12, size * 0.24, 0.0);
    canvas.cast_shadow(&shape, point(light.shadow_offset(0.1).x, 0.02), 0.025, 0.7);
    let seed = random.next_u64();
    canvas.paint_path(&shape, |place| {
        let d = point(
            (place.x - centre.x) / (size * 1.12),
            (place.y - centre.y) / (size * 0.24),
        );
        let weave = noise::smooth_noise(place.x * 160.0, place.y * 160.0, seed) - 0.5;
        colour.scale_by(1.02 - 0.26 * d.y + 0.10 * d.x * light.towards.x + 0.07 * weave)
    });
    let seam = Path::ellipse(
        centre - point(0.0, size * 0.05),
        size * 0.98,
        size * 0.17,
        0.0,
    );
    canvas.paint_path(&seam, |place| {
        let weave = noise::smooth_noise(place.x * 160.0, place.y * 160.0, seed) - 0.5;
        colour.scale_by(1.08 + 0.07 * weave)
    });
    let pressed = Path::ellipse(
        centre - point(0.0, size * 0.05),
        size * 0.72,
        size * 0.11,
        0.0,
    );
    canvas.cast_shadow(&pressed, point(0.0, 0.0), size * 0.06, 0.6);
}

fn paint_sitting_body(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    coat: &Coat,
    foot: Point,
    size: f32,
    facing: f32,
) {
    let at = |x: f32, y: f32| foot + point(x * facing, y) * size;
    let curl = random.float_between(0.8, 1.1);
    let tail = Path::stroked_line(
        &[
            at(-0.40, -0.10),
            at(-0.78, -0.06),
            at(-0.92 * curl, -0.26),
            at(-0.82 * curl, -0.52),
            at(-0.68 * curl, -0.56),
        ],
        size * 0.085,
        size * 0.055,
    );
    paint_fur(canvas, light, coat, &tail, foot, size);
    let body = Path::smooth_closed(&[
        at(0.02, -1.12),
        at(-0.22, -0.98),
        at(-0.38, -0.66),
        at(-0.54, -0.30),
        at(-0.50, -0.04),
        at(-0.20, 0.02),
        at(0.26, 0.02),
        at(0.42, -0.06),
        at(0.40, -0.36),
        at(0.34, -0.70),
        at(0.26, -0.98),
    ]);
    paint_fur(canvas, light, coat, &body, foot, size);
    let haunch = Path::ellipse(at(-0.26, -0.24), size * 0.29, size * 0.25, 0.0);
    canvas.cast_shadow(
        &haunch,
        point(size * 0.02 * facing, -size * 0.02),
        size * 0.05,
        0.30,
    );
    paint_fur(canvas, light, coat, &haunch, foot, size);
    let bib = canvas
        .rasterise_path(&Path::smooth_closed(&[
            at(0.12, -1.0),
            at(-0.02, -0.75),
            at(0.08, -0.46),
            at(0.18, -0.40),
            at(0.30, -0.48),
            at(0.33, -0.76),
        ]))
        .blur_by(size * 0.05 * canvas.scale());
    let hair = coat.seed;
    canvas.blend_mask(&bib, |place, below| {
        let strand = noise::layered_noise(place.x * 60.0, place.y * 30.0, 2, hair) - 0.5;
        below.mix_with(
            coat.chest
                .lit_by(light.colour)
                .scale_by(0.96 + 0.2 * strand),
            0.85,
        )
    });
    for x in [0.06, 0.28] {
        let leg = Path::stroked_line(
            &[at(x, -0.58), at(x + 0.01, -0.30), at(x + 0.02, -0.03)],
            size * 0.10,
            size * 0.085,
        );
        canvas.cast_shadow(&leg, point(-size * 0.015, 0.0), size * 0.03, 0.30);
        paint_fur(canvas, light, coat, &leg, foot, size);
        paint_paw(canvas, light, coat, at(x + 0.04, 0.0), size);
    }
    paint_paw(canvas, light, coat, at(-0.14, 0.0), size);
}

fn paint_lying_body(
    canvas: &mut Canvas,
    light: &Light,
    coat: &Coat,
    foot: Point,
    size: f32,
    facing: f32,
) {
    let at = |x: f32, y: f32| foot + point(x * facing, y) * size;
    let body = Path::smooth_closed(&[
        at(0.72, -0.44),
        at(0.40, -0.60),
        at(0.0, -0.62),
        at(-0.46, -0.60),
        at(-0.80, -0.36),
        at(-0.82, -0.08),
        at(-0.50, 0.02),
        at(0.10, 0.03),
        at(0.62, 0.02),
        at(0.80, -0.12),
    ]);
    paint_fur(canvas, light, coat, &body, foot, size);
    let haunch = Path::ellipse(at(-0.46, -0.24), size * 0.33, size * 0.26, 0.0);
    canvas.cast_shadow(
        &haunch,
        point(size * 0.02 * facing, -size * 0.02),
        size * 0.05,
        0.30,
    );
    paint_fur(canvas, light, coat, &haunch, foot, size);
    let tail = Path::stroked_line(
        &[
            at(-0.74, -0.10),
            at(-0.86, 0.02),
            at(-0.60, 0.09),
            at(-0.20, 0.07),
            at(0.04, 0.05),
        ],
        size * 0.075,
        size * 0.055,
    );
    canvas.cast_shadow(&tail, point(0.0, size * 0.02), size * 0.03, 0.35);
    paint_fur(canvas, light, coat, &tail, foot, size);
    for x in [0.46, 0.70] {
        let leg = Path::stroked_line(
            &[at(x - 0.22, -0.10), at(x, -0.03), at(x + 0.16, -0.01)],
            size * 0.10,
            size * 0.085,
        );
        canvas.cast_shadow(&leg, point(0.0, -size * 0.01), size * 0.03, 0.30);
        paint_fur(canvas, light, coat, &leg, foot, size);
        paint_paw(canvas, light, coat, at(x + 0.18, 0.0), size);
    }
}

fn paint_paw(canvas: &mut Canvas, light: &Light, coat: &Coat, at: Point, size: f32) {
    let shape = Path::ellipse(at, size * 0.125, size * 0.078, 0.0);
    let colour = if coat.style == 2 {
        coat.chest
    } else {
        coat.fur.mix_with(coat.chest, 0.35)
    };
    canvas.cast_shadow(&shape, point(0.0, size * 0.01), size * 0.025, 0.35);
    canvas.paint_path(&shape, |place| {
        let up = (at.y - place.y) / (size * 0.078);
        colour.lit_by(light.colour).scale_by(0.94 + 0.14 * up)
    });
    for toe in [-0.04, 0.03] {
        let line = [
            at + point(size * toe, size * 0.015),
            at + point(size * toe, size * 0.06),
        ];
        canvas.fill_path(
            &Path::stroked_line(&line, size * 0.006, size * 0.006),
            colour.scale_by(0.5),
        );
    }
}

/// Where a head is, how far it tilts in radians, and its size in units.
#[derive(Debug, Clone, Copy)]
struct HeadPose {
    middle: Point,
    tilt: f32,
    size: f32,
}

impl HeadPose {
    /// Converts a place given in head sizes to a place on the canvas.
    fn place(self, x: f32, y: f32) -> Point {
        self.middle + point(x, y).rotate_by(self.tilt) * self.size
    }
}

fn paint_head(
    canvas: &mut Canvas,
    random: &mut Random,
    light: &Light,
    coat: &Coat,
    eyes: Colour,
    middle: Point,
    size: f32,
) {
    let pose = HeadPose {
        middle,
        tilt: random.float_around(0.16),
        size,
    };
    paint_ears(canvas, light, coat, pose);
    paint_face(canvas, light, coat, pose);
    let sleepy = random.next_bool(0.3);
    for side in [-1.0, 1.0] {
        if sleepy {
            paint_closed_eye(canvas, coat, pose, side);
        } else {
            paint_open_eye(canvas, light, coat, eyes, pose, side);
        }
    }
    paint_mouth(canvas, light, coat, pose);
}

fn paint_ears(canvas: &mut Canvas, light: &Light, coat: &Coat, pose: HeadPose) {
    let at = |x: f32, y: f32| pose.place(x, y);
    for side in [-1.0, 1.0] {
        let ear = Path::smooth_closed(&[
            at(side * 0.92, -0.30),
            at(side * 0.90, -0.82),
            at(side * 0.82, -1.28),
            at(side * 0.52, -1.06),
            at(side * 0.16, -0.74),
        ]);
        paint_fur(canvas, light, coat, &ear, pose.middle, pose.size);
        let inner = Path::smooth_closed(&[
            at(side * 0.78, -0.52),
            at(side * 0.77, -1.08),
            at(side * 0.36, -0.76),
        ]);
        canvas.glaze_path(&inner, hex(0xe2a198).lit_by(light.colour), 0.75);
    }
}

fn paint_face(canvas: &mut Canvas, light: &Light, coat: &Coat, pose: HeadPose) {
    let size = pose.size;
    let at = |x: f32, y: f32| pose.place(x, y);
    let face = Path::smooth_closed(&[
        at(0.0, -0.86),
        at(0.55, -0.78),
        at(0.96, -0.30),
        at(1.06, 0.20),
        at(0.66, 0.66),
        at(0.0, 0.82),
        at(-0.66, 0.66),
        at(-1.06, 0.20),
        at(-0.96, -0.30),
        at(-0.55, -0.78),
    ]);
    canvas.cast_shadow(&face, point(0.0, size * 0.14), size * 0.14, 0.40);
    paint_fur(canvas, light, coat, &face, pose.middle, size);
    let muzzle = canvas
        .rasterise_path(
            &Path::ellipse(at(-0.22, 0.40), size * 0.32, size * 0.25, 0.0)
                .union_with(Path::ellipse(at(0.22, 0.40), size * 0.32, size * 0.25, 0.0)),
        )
        .blur_by(size * 0.05 * canvas.scale());
    canvas.blend_mask(&muzzle, |_, below| {
        below.mix_with(coat.chest.lit_by(light.colour), 0.80)
    });
    if coat.style == 1 {
        for x in [-0.22, 0.0, 0.22] {
            let stripe = [at(x, -0.78), at(x * 0.8, -0.44)];
            canvas.glaze_path(
                &Path::stroked_line(&stripe, size * 0.05, size * 0.02),
                coat.stripe.lit_by(light.colour),
                0.85,
            );
        }
    }
}

fn paint_closed_eye(canvas: &mut Canvas, coat: &Coat, pose: HeadPose, side: f32) {
    let size = pose.size;
    let centre = pose.place(side * 0.42, -0.06);
    let lid: Vec<Point> = (0..=8)
        .map(|i| {
            let on = on_circle(i as f32 / 16.0 * TAU);
            centre + point(on.x * size * 0.20, on.y * size * 0.13)
        })
        .collect();
    canvas.fill_path(
        &Path::stroked_line(&lid, size * 0.028, size * 0.028),
        coat.stripe.scale_by(0.45),
    );
}

fn paint_open_eye(
    canvas: &mut Canvas,
    light: &Light,
    coat: &Coat,
    iris: Colour,
    pose: HeadPose,
    side: f32,
) {
    let size = pose.size;
    let centre = pose.place(side * 0.42, -0.06);
    let eye = Path::ellipse(centre, size * 0.215, size * 0.195, side * 0.15);
    canvas.fill_path(
        &Path::ellipse(centre, size * 0.245, size * 0.225, side * 0.15),
        coat.stripe.scale_by(0.42),
    );
    canvas.paint_path(&eye, |place| {
        let up = (centre.y - place.y) / (size * 0.2);
        iris.lit_by(light.colour).scale_by(0.95 - 0.28 * up)
    });
    canvas.fill_path(
        &Path::ellipse(centre, size * 0.085, size * 0.165, 0.0),
        BLACK,
    );
    canvas.fill_path(
        &Path::circle(
            centre + point(light.towards.x.signum() * size * 0.06, -size * 0.08),
            size * 0.05,
        ),
        WHITE,
    );
}

/// Paints nose, lips and whiskers.
fn paint_mouth(canvas: &mut Canvas, light: &Light, coat: &Coat, pose: HeadPose) {
    let size = pose.size;
    let at = |x: f32, y: f32| pose.place(x, y);
    let nose = Path::smooth_closed(&[at(-0.13, 0.20), at(0.13, 0.20), at(0.0, 0.34)]);
    canvas.fill_path(&nose, hex(0xd0787a).lit_by(light.colour));
    for side in [-1.0, 1.0] {
        let lip = [at(0.0, 0.34), at(side * 0.07, 0.46), at(side * 0.22, 0.47)];
        canvas.fill_path(
            &Path::stroked_line(&lip, size * 0.020, size * 0.014),
            coat.stripe.scale_by(0.45),
        );
        for k in 0..3 {
            let drop = k as f32 * 0.10;
            let whisker = [
                at(side * 0.36, 0.36 + drop * 0.6),
                at(side * 0.85, 0.30 + drop * 1.2),
                at(side * 1.34, 0.30 + drop * 2.4),
            ];
            canvas.glaze_path(
                &Path::stroked_line(&whisker, size * 0.012, size * 0.004),
                WHITE,
                0.75,
            );
        }
    }
}
