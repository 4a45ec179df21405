//! Object: fish over a reef.

use crate::paint::colour::{BLACK, Colour, WHITE, hex, oklch, sample_gradient};
use crate::paint::math::{TAU, lerp, on_circle, sin, smooth_step};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

pub fn paint_fish_scene(canvas: &mut Canvas, random: &mut Random) {
    let (shallow, deep) = random.choose_from(&[
        (hex(0x9fe3e6), hex(0x0f4f7d)),
        (hex(0x7fd0ea), hex(0x123f7a)),
        (hex(0xa5e8cf), hex(0x12585f)),
        (hex(0x86c3f0), hex(0x1d2f6b)),
    ]);
    paint_water(canvas, random, shallow, deep);
    paint_sea_floor(canvas, random, deep);
    let width = canvas.width();
    let species = Species::random_species(random);
    let shoal = random.int_between(2, 4);
    for _ in 0..shoal {
        let at = point(
            width * random.next_fraction(),
            random.float_between(0.12, 0.55),
        );
        let size = random.float_between(0.05, 0.09);
        let facing = random.next_sign();
        species.paint_fish(
            canvas,
            at,
            size,
            facing,
            0.0,
            Some((deep.mix_with(shallow, 0.5), 0.45)),
        );
    }
    canvas.blur_all(0.003);
    paint_weed(canvas, random, deep);
    let facing = random.next_sign();
    let at = point(
        width * random.float_between(0.42, 0.58),
        random.float_between(0.40, 0.54),
    );
    let size = random.float_between(0.24, 0.30).min(width * 0.31);
    let tilt = random.float_around(0.18);
    species.paint_fish(canvas, at, size, facing, tilt, None);
    paint_bubbles(canvas, random, at + point(facing * size * 1.1, -0.02));
}

fn paint_water(canvas: &mut Canvas, random: &mut Random, shallow: Colour, deep: Colour) {
    let seed = random.next_u64();
    let (lean, source) = (
        random.float_between(-0.5, 0.5),
        canvas.width() * random.next_fraction(),
    );
    canvas.paint_all(|place| {
        let colour = sample_gradient(
            &[
                (0.0, shallow),
                (0.45, shallow.mix_with(deep, 0.55)),
                (1.0, deep),
            ],
            place.y,
        );
        // Shafts of light fan out from a point above.
        let angle = (place.x - source) / (place.y + 0.5) - lean * 0.2;
        let shaft = noise::layered_noise(angle * 7.0, 3.0, 3, seed);
        let ripple = noise::layered_noise(place.x * 9.0, place.y * 26.0, 3, seed ^ 1);
        let near_top = smooth_step(0.16, 0.0, place.y);
        colour
            .mix_with(
                WHITE,
                0.30 * smooth_step(0.48, 0.78, shaft) * (1.0 - place.y),
            )
            .mix_with(WHITE, 0.45 * near_top * smooth_step(0.45, 0.7, ripple))
    });
}

/// Paints sand with ripples, stones and corals.
fn paint_sea_floor(canvas: &mut Canvas, random: &mut Random, deep: Colour) {
    let width = canvas.width();
    let seed = random.next_u64();
    let sand = hex(0xe3cf9f).mix_with(deep, 0.28);
    let height = |x: f32| 0.84 + 0.05 * (noise::layered_noise(x * 2.5, 0.0, 2, seed) - 0.5);
    canvas.paint_path(
        &Path::area_under(-0.05, width + 0.05, 1.1, height),
        |place| {
            let down = (place.y - height(place.x)) / 0.18;
            let bend = noise::layered_noise(place.x * 5.0, place.y * 5.0, 2, seed);
            let ripple = sin(down * 26.0 / (0.6 + down.max(0.0)) + bend * 8.0);
            let grain = noise::smooth_noise(place.x * 200.0, place.y * 200.0, seed) - 0.5;
            sand.scale_by(0.80 + 0.20 * down.clamp(0.0, 1.2) + 0.05 * ripple + 0.08 * grain)
        },
    );
    for _ in 0..random.int_between(3, 5) {
        let x = width * random.next_fraction();
        let foot = point(x, height(x) + random.float_between(0.02, 0.08));
        paint_coral(canvas, random, foot, deep);
    }
}

fn paint_coral(canvas: &mut Canvas, random: &mut Random, foot: Point, deep: Colour) {
    let hue = random.choose_from(&[15.0, 40.0, 340.0, 310.0, 75.0]);
    let colour = oklch(0.68, 0.15, hue).mix_with(deep, 0.18);
    let tall = random.float_between(0.10, 0.2);
    canvas.cast_shadow(
        &Path::ellipse(foot, tall * 0.5, tall * 0.10, 0.0),
        point(0.0, 0.0),
        0.012,
        0.6,
    );
    if random.next_bool(0.4) {
        // A brain coral: a dome with winding furrows.
        let seed = random.next_u64();
        let dome = Path::ellipse(foot, tall * 0.62, tall * 0.52, 0.0);
        let floor = Path::rectangle(-9.0, -9.0, 9.0, foot.y + tall * 0.12);
        let mask = canvas
            .rasterise_path(&dome)
            .intersect_with(&canvas.rasterise_path(&floor));
        canvas.blend_mask(&mask, |place, _| {
            let d = (place - foot) * (1.0 / tall);
            let furrow = (noise::layered_noise(d.x * 5.0, d.y * 5.0, 2, seed) - 0.5).abs();
            colour.scale_by(0.78 - 0.5 * d.y + 0.22 * smooth_step(0.0, 0.06, furrow))
        });
        return;
    }
    for branch in 0..7 {
        let angle = TAU * (0.75 + (branch as f32 / 6.0 - 0.5) * 0.36) + random.float_around(0.1);
        let tip = foot + on_circle(angle) * (tall * random.float_between(0.75, 1.1));
        let bend =
            foot.midpoint_to(tip) + point(random.float_around(0.02), random.float_around(0.02));
        let tone = colour.scale_by(random.float_between(0.85, 1.08));
        canvas.fill_path(
            &Path::stroked_line(&[foot, bend, tip], tall * 0.07, tall * 0.04),
            tone,
        );
        for side in [-1.0, 1.0] {
            let twig = bend + on_circle(angle + side * 0.7) * (tall * 0.32);
            canvas.fill_path(
                &Path::stroked_line(&[bend, twig], tall * 0.045, tall * 0.03),
                tone,
            );
        }
    }
}

fn paint_weed(canvas: &mut Canvas, random: &mut Random, deep: Colour) {
    let width = canvas.width();
    for _ in 0..random.int_between(2, 4) {
        let x = width
            * if random.next_bool(0.5) {
                random.float_between(0.0, 0.22)
            } else {
                random.float_between(0.78, 1.0)
            };
        let green = oklch(
            random.float_between(0.50, 0.62),
            0.12,
            random.float_between(125.0, 165.0),
        )
        .mix_with(deep, 0.2);
        for _ in 0..random.int_between(3, 5) {
            let root = point(x + random.float_around(0.05), 1.02);
            let (tall, phase) = (
                random.float_between(0.3, 0.62),
                random.float_between(0.0, TAU),
            );
            let blade: Vec<Point> = (0..8)
                .map(|i| {
                    let t = i as f32 / 7.0;
                    root + point(sin(phase + t * 5.0) * 0.035 * (0.3 + t), -tall * t)
                })
                .collect();
            let tone = green.scale_by(random.float_between(0.8, 1.15));
            canvas.fill_path(&Path::stroked_line(&blade, 0.014, 0.003), tone);
        }
    }
}

fn paint_bubbles(canvas: &mut Canvas, random: &mut Random, from: Point) {
    for i in 0..random.int_between(5, 9) {
        let t = i as f32 / 8.0;
        let at = from + point(random.float_around(0.04 + 0.04 * t), -0.04 - t * 0.34);
        let radius = random.float_between(0.006, 0.017);
        canvas.glaze_path(&Path::circle(at, radius), WHITE, 0.22);
        canvas.glaze_path(
            &Path::circle(at + point(-radius * 0.3, -radius * 0.35), radius * 0.3),
            WHITE,
            0.85,
        );
    }
}

/// Where a fish is, its half-length in units, and how it is turned.
#[derive(Debug, Clone, Copy)]
struct FishPose {
    at: Point,
    size: f32,
    /// +1 looks to the right, −1 to the left.
    facing: f32,
    /// In radians.
    tilt: f32,
    /// Colour of the water in front of the fish, and its share.
    veil: Option<(Colour, f32)>,
}

impl FishPose {
    /// Converts a place given in half-lengths to a place on the canvas.
    fn place(&self, x: f32, y: f32) -> Point {
        self.at + point(x * self.facing, y).rotate_by(self.tilt * self.facing) * self.size
    }

    /// Converts a place on the canvas to half-lengths.
    fn to_local(self, p: Point) -> Point {
        let d = (p - self.at).rotate_by(-self.tilt * self.facing) * (1.0 / self.size);
        point(d.x * self.facing, d.y)
    }

    fn veil_colour(&self, colour: Colour) -> Colour {
        self.veil
            .map_or(colour, |(water, share)| colour.mix_with(water, share))
    }
}

/// Colours and markings that all fish of a picture share.
#[derive(Debug, Clone, Copy)]
struct Species {
    body: Colour,
    belly: Colour,
    mark: Colour,
    fins: Colour,
    /// Height of the body ÷ its length.
    tall: f32,
    style: u32,
}

impl Species {
    fn random_species(random: &mut Random) -> Species {
        let (body, belly, mark, fins) = random.choose_from(&[
            (hex(0xf07f23), hex(0xffc064), hex(0xfdf7ee), hex(0xe0601a)),
            (hex(0xf5cf2e), hex(0xfff0a0), hex(0x26324f), hex(0xf0b51f)),
            (hex(0x2f6fd0), hex(0x8fd0ff), hex(0xf6d548), hex(0xf6d548)),
            (hex(0xd8405a), hex(0xffb3a8), hex(0xfff1e6), hex(0xb32f52)),
            (hex(0x52b788), hex(0xd8f3c0), hex(0x1f5f58), hex(0x2f9a86)),
        ]);
        Species {
            body,
            belly,
            mark,
            fins,
            tall: random.float_between(0.50, 0.68),
            style: random.int_between(0, 2),
        }
    }

    /// Paints a fish of half-length `size`, looking towards `facing`; `veil` is the water in front of it.
    fn paint_fish(
        &self,
        canvas: &mut Canvas,
        at: Point,
        size: f32,
        facing: f32,
        tilt: f32,
        veil: Option<(Colour, f32)>,
    ) {
        let pose = FishPose {
            at,
            size,
            facing,
            tilt,
            veil,
        };
        self.paint_outer_fins(canvas, &pose);
        self.paint_body(canvas, &pose);
        self.paint_side_fin(canvas, &pose);
        self.paint_face(canvas, &pose);
    }

    /// Returns the colour of a fin at a place: rays of alternating brightness.
    fn fin_colour(&self, pose: &FishPose, p: Point) -> Colour {
        let d = pose.to_local(p);
        pose.veil_colour(
            self.fins
                .scale_by(0.92 + 0.12 * sin((d.y * 1.5 + d.x * 0.4) * 40.0)),
        )
    }

    /// Paints tail, back fin and belly fin, which the body partly hides.
    fn paint_outer_fins(&self, canvas: &mut Canvas, pose: &FishPose) {
        let tall = self.tall;
        let rays = |p: Point| self.fin_colour(pose, p);
        let tail = Path::smooth_closed(&[
            pose.place(-0.72, -0.07),
            pose.place(-1.15, -0.46),
            pose.place(-1.38, -0.50),
            pose.place(-1.22, 0.0),
            pose.place(-1.38, 0.50),
            pose.place(-1.15, 0.46),
            pose.place(-0.72, 0.07),
        ]);
        canvas.paint_path(&tail, rays);
        let back_fin = Path::smooth_closed(&[
            pose.place(0.45, -tall * 0.80),
            pose.place(0.10, -tall * 1.42),
            pose.place(-0.50, -tall * 1.28),
            pose.place(-0.62, -tall * 0.50),
        ]);
        canvas.paint_path(&back_fin, rays);
        let belly_fin = Path::smooth_closed(&[
            pose.place(0.05, tall * 0.80),
            pose.place(-0.20, tall * 1.38),
            pose.place(-0.45, tall * 1.25),
            pose.place(-0.50, tall * 0.55),
        ]);
        canvas.paint_path(&belly_fin, rays);
    }

    fn paint_body(&self, canvas: &mut Canvas, pose: &FishPose) {
        let tall = self.tall;
        let body = Path::smooth_closed(&[
            pose.place(1.0, 0.04),
            pose.place(0.78, -tall * 0.50),
            pose.place(0.30, -tall * 0.95),
            pose.place(-0.30, -tall * 0.78),
            pose.place(-0.80, -tall * 0.20),
            pose.place(-0.80, tall * 0.20),
            pose.place(-0.30, tall * 0.80),
            pose.place(0.30, tall * 0.95),
            pose.place(0.80, tall * 0.50),
        ]);
        canvas.paint_path(&body, |p| {
            let d = pose.to_local(p);
            let mut colour = self
                .body
                .mix_with(self.belly, smooth_step(-0.1, 0.9, d.y / tall));
            colour = colour.mix_with(self.mark, self.marking_at(d));
            let scale = sin(d.x * 34.0 + sin(d.y * 30.0) * 1.2) * sin(d.y * 30.0);
            let round = d.y / tall;
            pose.veil_colour(
                colour.scale_by(1.10 - 0.34 * round * round - 0.16 * round + 0.04 * scale),
            )
        });
    }

    fn paint_side_fin(&self, canvas: &mut Canvas, pose: &FishPose) {
        let size = pose.size;
        let side_fin = Path::smooth_closed(&[
            pose.place(0.28, 0.10),
            pose.place(-0.06, 0.02),
            pose.place(-0.26, 0.30),
            pose.place(0.08, 0.36),
        ]);
        canvas.cast_shadow(&side_fin, point(0.0, size * 0.03), size * 0.04, 0.35);
        canvas.paint_path(&side_fin, |p| self.fin_colour(pose, p));
    }

    /// Paints mouth and eye.
    fn paint_face(&self, canvas: &mut Canvas, pose: &FishPose) {
        let (tall, size, facing) = (self.tall, pose.size, pose.facing);
        let mouth = [
            pose.place(0.97, 0.13),
            pose.place(0.86, 0.18),
            pose.place(0.78, 0.16),
        ];
        canvas.fill_path(
            &Path::stroked_line(&mouth, size * 0.016, size * 0.008),
            pose.veil_colour(self.body.scale_by(0.45)),
        );
        let eye = pose.place(0.64, -tall * 0.22);
        canvas.fill_path(&Path::circle(eye, size * 0.105), pose.veil_colour(WHITE));
        canvas.fill_path(
            &Path::circle(eye + point(facing * size * 0.015, 0.0), size * 0.066),
            pose.veil_colour(BLACK),
        );
        canvas.fill_path(
            &Path::circle(
                eye + point(facing * size * 0.035, -size * 0.03),
                size * 0.022,
            ),
            pose.veil_colour(WHITE),
        );
    }

    /// Returns the share of the marking's colour at a place of the body.
    fn marking_at(&self, d: Point) -> f32 {
        let soft = 0.02;
        match self.style {
            0 => [0.38, -0.12, -0.56]
                .into_iter()
                .map(|x| {
                    let bend = 0.10 * d.y * d.y;
                    smooth_step(0.085 + soft, 0.085 - soft, (d.x - x + bend).abs())
                })
                .fold(0.0, f32::max),
            1 => {
                let wave = sin(d.y * 21.0 + 0.6 * sin(d.x * 6.0));
                smooth_step(0.35, 0.6, wave) * smooth_step(0.46, 0.40, d.x)
            }
            _ => {
                let (x, y) = (d.x * 5.0, d.y * 5.0);
                let cell = point(x - x.floor() - 0.5, y - y.floor() - 0.5).length();
                smooth_step(0.30, 0.22, cell) * lerp(1.0, 0.0, smooth_step(0.30, 0.42, d.x))
            }
        }
    }
}
