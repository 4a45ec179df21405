//! Object: fish over a reef.

use crate::paint::colour::{BLACK, Colour, WHITE, gradient, hex, oklch};
use crate::paint::math::{TURN, lerp, on_circle, sin, smooth};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

/// Paints the scene.
pub fn paint(canvas: &mut Canvas, random: &mut Random) {
    let (shallow, deep) = random.choose(&[
        (hex(0x9fe3e6), hex(0x0f4f7d)),
        (hex(0x7fd0ea), hex(0x123f7a)),
        (hex(0xa5e8cf), hex(0x12585f)),
        (hex(0x86c3f0), hex(0x1d2f6b)),
    ]);
    water(canvas, random, shallow, deep);
    bottom(canvas, random, deep);
    let width = canvas.width();
    let species = Species::choose(random);
    let shoal = random.whole(2, 4);
    for _ in 0..shoal {
        let at = point(width * random.fraction(), random.between(0.12, 0.55));
        let size = random.between(0.05, 0.09);
        let facing = random.sign();
        species.paint(
            canvas,
            at,
            size,
            facing,
            0.0,
            Some((deep.mix(shallow, 0.5), 0.45)),
        );
    }
    canvas.blur(0.003);
    weed(canvas, random, deep);
    let facing = random.sign();
    let at = point(
        width * random.between(0.42, 0.58),
        random.between(0.40, 0.54),
    );
    let size = random.between(0.24, 0.30).min(width * 0.31);
    let tilt = random.around(0.18);
    species.paint(canvas, at, size, facing, tilt, None);
    bubbles(canvas, random, at + point(facing * size * 1.1, -0.02));
}

fn water(canvas: &mut Canvas, random: &mut Random, shallow: Colour, deep: Colour) {
    let seed = random.bits();
    let (lean, source) = (
        random.between(-0.5, 0.5),
        canvas.width() * random.fraction(),
    );
    canvas.cover(|place| {
        let colour = gradient(
            &[(0.0, shallow), (0.45, shallow.mix(deep, 0.55)), (1.0, deep)],
            place.y,
        );
        // Shafts of light fan out from somewhere above.
        let angle = (place.x - source) / (place.y + 0.5) - lean * 0.2;
        let shaft = noise::layers(angle * 7.0, 3.0, 3, seed);
        let ripple = noise::layers(place.x * 9.0, place.y * 26.0, 3, seed ^ 1);
        let near_top = smooth(0.16, 0.0, place.y);
        colour
            .mix(WHITE, 0.30 * smooth(0.48, 0.78, shaft) * (1.0 - place.y))
            .mix(WHITE, 0.45 * near_top * smooth(0.45, 0.7, ripple))
    });
}

/// Sand with ripples, stones and corals.
fn bottom(canvas: &mut Canvas, random: &mut Random, deep: Colour) {
    let width = canvas.width();
    let seed = random.bits();
    let sand = hex(0xe3cf9f).mix(deep, 0.28);
    let height = |x: f32| 0.84 + 0.05 * (noise::layers(x * 2.5, 0.0, 2, seed) - 0.5);
    canvas.paint(&Path::under(-0.05, width + 0.05, 1.1, height), |place| {
        let down = (place.y - height(place.x)) / 0.18;
        let bend = noise::layers(place.x * 5.0, place.y * 5.0, 2, seed);
        let ripple = sin(down * 26.0 / (0.6 + down.max(0.0)) + bend * 8.0);
        let grain = noise::value(place.x * 200.0, place.y * 200.0, seed) - 0.5;
        sand.times(0.80 + 0.20 * down.clamp(0.0, 1.2) + 0.05 * ripple + 0.08 * grain)
    });
    for _ in 0..random.whole(3, 5) {
        let x = width * random.fraction();
        let foot = point(x, height(x) + random.between(0.02, 0.08));
        coral(canvas, random, foot, deep);
    }
}

fn coral(canvas: &mut Canvas, random: &mut Random, foot: Point, deep: Colour) {
    let hue = random.choose(&[15.0, 40.0, 340.0, 310.0, 75.0]);
    let colour = oklch(0.68, 0.15, hue).mix(deep, 0.18);
    let tall = random.between(0.10, 0.2);
    canvas.shadow(
        &Path::ellipse(foot, tall * 0.5, tall * 0.10, 0.0),
        point(0.0, 0.0),
        0.012,
        0.6,
    );
    if random.chance(0.4) {
        // A brain coral: a dome with winding furrows.
        let seed = random.bits();
        let dome = Path::ellipse(foot, tall * 0.62, tall * 0.52, 0.0);
        let floor = Path::rectangle(-9.0, -9.0, 9.0, foot.y + tall * 0.12);
        let mask = canvas.mask(&dome).within(&canvas.mask(&floor));
        canvas.blend(&mask, |place, _| {
            let d = (place - foot) * (1.0 / tall);
            let furrow = (noise::layers(d.x * 5.0, d.y * 5.0, 2, seed) - 0.5).abs();
            colour.times(0.78 - 0.5 * d.y + 0.22 * smooth(0.0, 0.06, furrow))
        });
        return;
    }
    for branch in 0..7 {
        let angle = TURN * (0.75 + (branch as f32 / 6.0 - 0.5) * 0.36) + random.around(0.1);
        let tip = foot + on_circle(angle) * (tall * random.between(0.75, 1.1));
        let bend = foot.mid(tip) + point(random.around(0.02), random.around(0.02));
        let tone = colour.times(random.between(0.85, 1.08));
        canvas.fill(
            &Path::stroke(&[foot, bend, tip], tall * 0.07, tall * 0.04),
            tone,
        );
        for side in [-1.0, 1.0] {
            let twig = bend + on_circle(angle + side * 0.7) * (tall * 0.32);
            canvas.fill(
                &Path::stroke(&[bend, twig], tall * 0.045, tall * 0.03),
                tone,
            );
        }
    }
}

fn weed(canvas: &mut Canvas, random: &mut Random, deep: Colour) {
    let width = canvas.width();
    for _ in 0..random.whole(2, 4) {
        let x = width
            * if random.chance(0.5) {
                random.between(0.0, 0.22)
            } else {
                random.between(0.78, 1.0)
            };
        let green = oklch(
            random.between(0.50, 0.62),
            0.12,
            random.between(125.0, 165.0),
        )
        .mix(deep, 0.2);
        for _ in 0..random.whole(3, 5) {
            let root = point(x + random.around(0.05), 1.02);
            let (tall, phase) = (random.between(0.3, 0.62), random.between(0.0, TURN));
            let blade: Vec<Point> = (0..8)
                .map(|i| {
                    let t = i as f32 / 7.0;
                    root + point(sin(phase + t * 5.0) * 0.035 * (0.3 + t), -tall * t)
                })
                .collect();
            let tone = green.times(random.between(0.8, 1.15));
            canvas.fill(&Path::stroke(&blade, 0.014, 0.003), tone);
        }
    }
}

fn bubbles(canvas: &mut Canvas, random: &mut Random, from: Point) {
    for i in 0..random.whole(5, 9) {
        let t = i as f32 / 8.0;
        let at = from + point(random.around(0.04 + 0.04 * t), -0.04 - t * 0.34);
        let radius = random.between(0.006, 0.017);
        canvas.glaze(&Path::circle(at, radius), WHITE, 0.22);
        canvas.glaze(
            &Path::circle(at + point(-radius * 0.3, -radius * 0.35), radius * 0.3),
            WHITE,
            0.85,
        );
    }
}

/// The look that all fish of a picture share.
#[derive(Debug, Clone, Copy)]
struct Species {
    body: Colour,
    belly: Colour,
    mark: Colour,
    fins: Colour,
    /// Height of the body to its length.
    tall: f32,
    style: u32,
}

impl Species {
    fn choose(random: &mut Random) -> Species {
        let (body, belly, mark, fins) = random.choose(&[
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
            tall: random.between(0.50, 0.68),
            style: random.whole(0, 2),
        }
    }

    /// Paints a fish of half-length `size`, looking towards `facing`; `veil` is the water before it.
    fn paint(
        &self,
        canvas: &mut Canvas,
        at: Point,
        size: f32,
        facing: f32,
        tilt: f32,
        veil: Option<(Colour, f32)>,
    ) {
        let tall = self.tall;
        let place = |x: f32, y: f32| at + point(x * facing, y).turned(tilt * facing) * size;
        let through =
            |colour: Colour| veil.map_or(colour, |(water, share)| colour.mix(water, share));
        let local = |p: Point| {
            let d = (p - at).turned(-tilt * facing) * (1.0 / size);
            point(d.x * facing, d.y)
        };
        let rays = |p: Point| {
            let d = local(p);
            through(
                self.fins
                    .times(0.92 + 0.12 * sin((d.y * 1.5 + d.x * 0.4) * 40.0)),
            )
        };
        let tail = Path::smooth(&[
            place(-0.72, -0.07),
            place(-1.15, -0.46),
            place(-1.38, -0.50),
            place(-1.22, 0.0),
            place(-1.38, 0.50),
            place(-1.15, 0.46),
            place(-0.72, 0.07),
        ]);
        canvas.paint(&tail, rays);
        let back_fin = Path::smooth(&[
            place(0.45, -tall * 0.80),
            place(0.10, -tall * 1.42),
            place(-0.50, -tall * 1.28),
            place(-0.62, -tall * 0.50),
        ]);
        canvas.paint(&back_fin, rays);
        let belly_fin = Path::smooth(&[
            place(0.05, tall * 0.80),
            place(-0.20, tall * 1.38),
            place(-0.45, tall * 1.25),
            place(-0.50, tall * 0.55),
        ]);
        canvas.paint(&belly_fin, rays);
        let body = Path::smooth(&[
            place(1.0, 0.04),
            place(0.78, -tall * 0.50),
            place(0.30, -tall * 0.95),
            place(-0.30, -tall * 0.78),
            place(-0.80, -tall * 0.20),
            place(-0.80, tall * 0.20),
            place(-0.30, tall * 0.80),
            place(0.30, tall * 0.95),
            place(0.80, tall * 0.50),
        ]);
        canvas.paint(&body, |p| {
            let d = local(p);
            let mut colour = self.body.mix(self.belly, smooth(-0.1, 0.9, d.y / tall));
            colour = colour.mix(self.mark, self.marking(d));
            let scale = sin(d.x * 34.0 + sin(d.y * 30.0) * 1.2) * sin(d.y * 30.0);
            let round = d.y / tall;
            through(colour.times(1.10 - 0.34 * round * round - 0.16 * round + 0.04 * scale))
        });
        let side_fin = Path::smooth(&[
            place(0.28, 0.10),
            place(-0.06, 0.02),
            place(-0.26, 0.30),
            place(0.08, 0.36),
        ]);
        canvas.shadow(&side_fin, point(0.0, size * 0.03), size * 0.04, 0.35);
        canvas.paint(&side_fin, rays);
        let mouth = [place(0.97, 0.13), place(0.86, 0.18), place(0.78, 0.16)];
        canvas.fill(
            &Path::stroke(&mouth, size * 0.016, size * 0.008),
            through(self.body.times(0.45)),
        );
        let eye = place(0.64, -tall * 0.22);
        canvas.fill(&Path::circle(eye, size * 0.105), through(WHITE));
        canvas.fill(
            &Path::circle(eye + point(facing * size * 0.015, 0.0), size * 0.066),
            through(BLACK),
        );
        canvas.fill(
            &Path::circle(
                eye + point(facing * size * 0.035, -size * 0.03),
                size * 0.022,
            ),
            through(WHITE),
        );
    }

    /// How much of the marking's colour a place of the body has.
    fn marking(&self, d: Point) -> f32 {
        let soft = 0.02;
        match self.style {
            0 => [0.38, -0.12, -0.56]
                .into_iter()
                .map(|x| {
                    let bend = 0.10 * d.y * d.y;
                    smooth(0.085 + soft, 0.085 - soft, (d.x - x + bend).abs())
                })
                .fold(0.0, f32::max),
            1 => {
                let wave = sin(d.y * 21.0 + 0.6 * sin(d.x * 6.0));
                smooth(0.35, 0.6, wave) * smooth(0.46, 0.40, d.x)
            }
            _ => {
                let (x, y) = (d.x * 5.0, d.y * 5.0);
                let cell = point(x - x.floor() - 0.5, y - y.floor() - 0.5).length();
                smooth(0.30, 0.22, cell) * lerp(1.0, 0.0, smooth(0.30, 0.42, d.x))
            }
        }
    }
}
