//! Pattern: waves cut from overlapping sheets of paper.

use crate::paint::colour::{Colour, hex};
use crate::paint::math::{lerp, sin};
use crate::paint::{Canvas, Path, Random, noise, point};

pub fn paint_paper_waves(canvas: &mut Canvas, random: &mut Random) {
    let (from, to): (Colour, Colour) = random.choose_from(&[
        (hex(0xe3f2f7), hex(0x14507a)),
        (hex(0xfff0d9), hex(0xc4472f)),
        (hex(0xf3f7de), hex(0x2e6b4f)),
        (hex(0xf9e6f0), hex(0x6b3a86)),
        (hex(0xfdf3d0), hex(0x1c7c84)),
    ]);
    let width = canvas.width();
    let seed = random.next_u64();
    let paper = move |place: crate::paint::Point| {
        1.0 + 0.07 * (noise::layered_noise(place.x * 150.0, place.y * 150.0, 2, seed) - 0.5)
            + 0.05 * (noise::layered_noise(place.x * 9.0, place.y * 9.0, 2, seed) - 0.5)
    };
    canvas.paint_all(|place| from.mix_white(0.25).scale_by(paper(place)));
    let sheets = random.int_between(7, 10);
    let tilt = random.float_around(0.22);
    let (waves, swell) = (
        random.float_between(4.5, 8.0),
        random.float_between(0.028, 0.05),
    );
    let drift = random.float_between(0.5, 1.4);
    let shadow = point(random.float_between(-0.006, 0.006), -0.012);
    for sheet in 0..sheets {
        let t = sheet as f32 / (sheets - 1) as f32;
        let base = lerp(0.16, 0.93, t);
        let phase = sheet as f32 * drift + random.float_around(0.5);
        let tall = swell * random.float_between(0.8, 1.3);
        let edge = move |x: f32| {
            base + tilt * (x - width / 2.0) * (1.0 - 0.3 * t)
                - tall * sin(x * waves + phase)
                - tall * 0.35 * sin(x * waves * 2.3 + phase * 2.0)
        };
        let shape = Path::area_under(-0.1, width + 0.1, 1.4, edge);
        canvas.cast_shadow(&shape, shadow, 0.014, 0.40);
        let colour = from.mix_with(to, 0.12 + 0.88 * t);
        canvas.paint_path(&shape, |place| {
            let down = (place.y - edge(place.x)).max(0.0);
            colour.scale_by(paper(place) * (1.04 - 0.5 * down.min(0.2)))
        });
        // The cut edge of the sheet.
        let line: Vec<_> = (0..=60)
            .map(|i| {
                let x = -0.05 + (width + 0.1) * i as f32 / 60.0;
                point(x, edge(x) + 0.0012)
            })
            .collect();
        canvas.glaze_path(
            &Path::stroked_line(&line, 0.0016, 0.0016),
            colour.mix_white(0.6),
            0.75,
        );
    }
}
