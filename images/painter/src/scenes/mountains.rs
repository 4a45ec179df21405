//! Landscape: snow-capped mountains over a lake.

use super::sky;
use crate::paint::colour::{Colour, hex};
use crate::paint::math::{lerp, linear_step, smooth_step};
use crate::paint::{Canvas, Path, Point, Random, noise, point};

pub fn paint_mountain_lake(canvas: &mut Canvas, random: &mut Random) {
    let hour = if random.next_bool(0.35) {
        sky::random_evening(random)
    } else {
        sky::random_day(random)
    };
    let shore = random.float_between(0.62, 0.70);
    let cover = random.float_between(0.0, 0.45);
    sky::paint_sky(canvas, random, &hour, shore, cover);
    paint_range(canvas, random, &hour, shore, 0.0);
    paint_range(canvas, random, &hour, shore, 0.5);
    paint_forest(canvas, random, &hour, shore);
    paint_lake(canvas, random, &hour, shore);
    if random.next_bool(0.6) {
        paint_near_pines(canvas, random, &hour);
    }
}

/// Paints a ridge of peaks: noise shaped like tents, lit from one side, with snow above a line.
fn paint_range(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, shore: f32, near: f32) {
    let width = canvas.width();
    let seed = random.next_u64();
    let count = random.int_between(2, 4);
    let peaks: Vec<(Point, f32)> = (0..count)
        .map(|i| {
            let t = (i as f32 + 0.5) / count as f32;
            let tall = random.float_between(0.26, 0.42) * lerp(1.0, 0.62, near);
            let at = point(width * t + random.float_around(0.18), shore - tall);
            (at, random.float_between(0.8, 1.25))
        })
        .collect();
    let rough = |x: f32| {
        let coarse = noise::layered_noise(x * 5.0, near * 9.0, 2, seed) - 0.5;
        let fine = noise::layered_noise(x * 22.0, near * 9.0, 4, seed ^ 6) - 0.5;
        0.16 * coarse + 0.055 * fine
    };
    let height = |x: f32| {
        peaks
            .iter()
            .map(|(peak, steep)| peak.y + (x - peak.x).abs() * steep)
            .fold(shore, f32::min)
            + rough(x)
    };
    let rock = hex(0x6b7280).mix_with(hour.shade, 0.35).lit_by(hour.light);
    let snow = hour.cloud.mix_with(hex(0xffffff), 0.5);
    let from_left = random.next_sign();
    let snow_line = random.float_between(0.10, 0.2);
    let haze = hour.horizon.mix_with(hour.middle, 0.4);
    canvas.paint_path(
        &Path::area_under(-0.05, width + 0.05, shore + 0.01, height),
        |place| {
            // Finds the peak that this place belongs to, and the side of its ridge line.
            let (peak, _) = peaks
                .iter()
                .copied()
                .min_by(|a, b| {
                    let of = |p: &(Point, f32)| p.0.y + (place.x - p.0.x).abs() * p.1;
                    of(a).total_cmp(&of(b))
                })
                .expect("a range has peaks");
            let down = place.y - peak.y;
            let crook = (noise::layered_noise(place.y * 9.0, peak.x * 7.0, 4, seed ^ 1) - 0.5)
                * 0.34
                * linear_step(0.0, 0.2, down);
            let gully = noise::layered_noise(
                (place.x - peak.x) * 16.0 + down * 4.0,
                down * 7.0,
                4,
                seed ^ 2,
            ) - 0.5;
            let side = (place.x - peak.x + crook + gully * 0.05) * from_left;
            let lit = smooth_step(0.012, -0.012, side);
            let stone = rock.scale_by(lerp(0.58, 1.12, lit) + 0.9 * gully);
            let patchy = noise::layered_noise(place.x * 22.0, place.y * 14.0, 4, seed ^ 4) - 0.5;
            let white = smooth_step(0.05, -0.03, down - snow_line + patchy * 0.22 + gully * 0.12);
            let drift = snow
                .mix_with(hour.zenith, lerp(0.42, 0.02, lit))
                .lit_by(hour.light.mix_white(0.5));
            let far = lerp(0.36, 0.10, near)
                + 0.45 * linear_step(shore - 0.20, shore, place.y) * (1.0 - near * 0.6);
            stone
                .mix_with(drift, white * 0.96)
                .mix_with(haze, far.min(0.85))
        },
    );
}

/// Paints the belt of firs along the far shore.
fn paint_forest(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, shore: f32) {
    let width = canvas.width();
    let green = hex(0x2f4a3c).mix_with(hour.shade, 0.18).lit_by(hour.light);
    let seed = random.next_u64();
    let mut x = -0.02;
    while x < width + 0.02 {
        let stand = noise::layered_noise(x * 3.0, 0.0, 3, seed);
        let tall = 0.022 + 0.07 * stand * random.float_between(0.6, 1.1);
        let tone = green.scale_by(random.float_between(0.85, 1.15));
        paint_fir(canvas, point(x, shore + 0.004), tall, tone);
        x += random.float_between(0.006, 0.014);
    }
}

/// Paints a fir as a stack of three triangles.
fn paint_fir(canvas: &mut Canvas, foot: Point, tall: f32, colour: Colour) {
    for (from, to, breadth) in [(0.05, 0.55, 0.24), (0.30, 0.80, 0.18), (0.55, 1.0, 0.12)] {
        canvas.fill_path(
            &Path::polygon(&[
                point(foot.x - tall * breadth, foot.y - tall * from),
                point(foot.x, foot.y - tall * to),
                point(foot.x + tall * breadth, foot.y - tall * from),
            ]),
            colour.scale_by(0.9 + 0.2 * to),
        );
    }
    canvas.fill_path(
        &Path::rectangle(
            foot.x - tall * 0.02,
            foot.y - tall * 0.06,
            foot.x + tall * 0.02,
            foot.y,
        ),
        colour.scale_by(0.6),
    );
}

fn paint_lake(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour, shore: f32) {
    let seed = random.next_u64();
    let wind = random.float_between(0.4, 1.3);
    canvas.mirror_below(shore, |place| {
        let t = (place.y - shore) / (1.0 - shore);
        let depth = 1.0 / (t + 0.08);
        let wave = noise::layered_noise(
            place.x * (3.0 + 2.0 * depth),
            depth * 10.0 - t * 25.0,
            3,
            seed,
        ) - 0.5;
        point(wave * 0.02 * wind, wave * 0.13 * wind * (0.25 + t))
    });
    let deep = hour.zenith.mix_with(hex(0x12303f), 0.6);
    let width = canvas.width();
    let water = canvas.rasterise_path(&Path::rectangle(-0.1, shore, width + 0.1, 1.1));
    canvas.blend_mask(&water, |place, below| {
        let t = (place.y - shore) / (1.0 - shore);
        let depth = 1.0 / (t + 0.08);
        let wave = noise::layered_noise(
            place.x * (4.0 + 2.0 * depth),
            depth * 12.0 - t * 20.0,
            3,
            seed ^ 8,
        );
        below
            .mix_with(deep, 0.16 + 0.36 * t)
            .mix_with(hour.horizon, 0.20 * smooth_step(0.56, 0.68, wave))
    });
    let line = Path::rectangle(-0.1, shore - 0.0015, width + 0.1, shore + 0.0025);
    canvas.glaze_path(&line, hour.horizon, 0.5);
}

/// Paints tall dark firs at one side of the picture.
fn paint_near_pines(canvas: &mut Canvas, random: &mut Random, hour: &sky::Hour) {
    let width = canvas.width();
    let left = random.next_bool(0.5);
    let tone = hex(0x1d3029).lit_by(hour.light);
    for i in 0..random.int_between(2, 4) {
        let inward = 0.02 + i as f32 * random.float_between(0.06, 0.11);
        let x = if left { inward } else { width - inward };
        let tall = random.float_between(0.42, 0.62) * (1.0 - 0.18 * i as f32);
        let foot = point(x, 1.02);
        // Boughs from the foot up, each drooping slightly.
        let boughs = 30;
        for bough in 0..boughs {
            let t = bough as f32 / boughs as f32;
            let root = foot + point(0.0, -tall * (0.08 + 0.92 * t));
            let shade = tone.scale_by(0.82 + 0.4 * t + random.float_around(0.1));
            for side in [-1.0, 1.0] {
                let reach = tall * 0.20 * (1.0 - t) * random.float_between(0.75, 1.1) + 0.004;
                let thick = tall * 0.075 * (1.0 - 0.55 * t);
                let skirt = Path::smooth_closed(&[
                    root + point(0.0, -thick),
                    root + point(side * reach * 0.45, -thick * 0.25),
                    root + point(side * reach, reach * 0.32),
                    root + point(side * reach * 0.5, reach * 0.22),
                    root + point(0.0, thick * 0.3),
                ]);
                canvas.fill_path(&skirt, shade);
            }
        }
    }
}
