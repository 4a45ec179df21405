//! Blossoms, for the vases and the patterns.

use crate::paint::colour::{Colour, hex, oklch};
use crate::paint::math::{TAU, on_circle};
use crate::paint::{Canvas, Path, Point, Random, point};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blossom {
    /// Many narrow petals around a yellow heart.
    Daisy,
    /// A closed cup on its stem.
    Tulip,
    /// A few broad round petals around a dark heart.
    Poppy,
    /// Two rings of pointed petals around a large brown heart.
    Sunflower,
    /// Ring upon ring of petals.
    Rose,
}

pub const BLOSSOMS: [Blossom; 5] = [
    Blossom::Daisy,
    Blossom::Tulip,
    Blossom::Poppy,
    Blossom::Sunflower,
    Blossom::Rose,
];

impl Blossom {
    /// Draws a colour that this kind of flower has.
    pub fn choose_colour(self, random: &mut Random) -> Colour {
        match self {
            Blossom::Daisy => random.choose_from(&[hex(0xfbf7ef), hex(0xf6d6e2), hex(0xe9e3ff)]),
            Blossom::Tulip => oklch(0.66, 0.18, random.choose_from(&[20.0, 60.0, 350.0, 320.0])),
            Blossom::Poppy => oklch(0.62, 0.20, random.choose_from(&[28.0, 35.0, 15.0])),
            Blossom::Sunflower => hex(0xf5b92a),
            Blossom::Rose => oklch(0.72, 0.12, random.choose_from(&[10.0, 355.0, 60.0, 85.0])),
        }
    }
}

/// Paints one blossom of the given radius, rotated by `turn` radians about its heart.
pub fn paint_blossom(
    canvas: &mut Canvas,
    random: &mut Random,
    kind: Blossom,
    petals: Colour,
    heart: Point,
    radius: f32,
    turn: f32,
) {
    match kind {
        Blossom::Daisy => paint_daisy(canvas, petals, heart, radius, turn),
        Blossom::Poppy => paint_poppy(canvas, petals, heart, radius, turn),
        Blossom::Sunflower => paint_sunflower(canvas, petals, heart, radius, turn),
        Blossom::Rose => paint_rose(canvas, petals, heart, radius, turn),
        Blossom::Tulip => paint_tulip(canvas, random, petals, heart, radius, turn),
    }
}

fn paint_daisy(canvas: &mut Canvas, petals: Colour, heart: Point, radius: f32, turn: f32) {
    paint_petal_ring(canvas, heart, radius, turn, 15, 0.16, petals, 0.0);
    paint_core(canvas, heart, radius * 0.27, hex(0xeeb42f));
}

fn paint_poppy(canvas: &mut Canvas, petals: Colour, heart: Point, radius: f32, turn: f32) {
    for i in 0..5 {
        let angle = turn + i as f32 / 5.0 * TAU;
        let at = heart + on_circle(angle) * (radius * 0.48);
        let petal = Path::ellipse(at, radius * 0.54, radius * 0.46, angle);
        canvas.cast_shadow(&petal, point(0.0, 0.003), radius * 0.06, 0.25);
        canvas.paint_path(&petal, |place| {
            let far = (place - heart).length() / radius;
            petals.scale_by(0.72 + 0.36 * far)
        });
    }
    paint_core(canvas, heart, radius * 0.24, hex(0x2b2226));
    for i in 0..12 {
        let at = heart + on_circle(i as f32 / 12.0 * TAU) * (radius * 0.32);
        canvas.fill_path(&Path::circle(at, radius * 0.03), hex(0x2b2226));
    }
}

fn paint_sunflower(canvas: &mut Canvas, petals: Colour, heart: Point, radius: f32, turn: f32) {
    paint_petal_ring(
        canvas,
        heart,
        radius,
        turn,
        18,
        0.15,
        petals.scale_by(0.85),
        0.0,
    );
    paint_petal_ring(
        canvas,
        heart,
        radius * 0.88,
        turn + 0.17,
        18,
        0.14,
        petals,
        0.0,
    );
    paint_core(canvas, heart, radius * 0.46, hex(0x5a3a1e));
    for i in 0..60 {
        // Seeds in a golden-angle spiral.
        let at = on_circle(i as f32 * 2.399_963) * (radius * 0.055 * (i as f32).sqrt());
        canvas.fill_path(&Path::circle(heart + at, radius * 0.02), hex(0x8a6034));
    }
}

fn paint_rose(canvas: &mut Canvas, petals: Colour, heart: Point, radius: f32, turn: f32) {
    for (step, (share, count)) in [(1.0, 7), (0.78, 6), (0.56, 5), (0.36, 4)]
        .into_iter()
        .enumerate()
    {
        let tone = petals.scale_by(1.06 - 0.09 * step as f32);
        for i in 0..count {
            let angle = turn + step as f32 * 0.6 + i as f32 / count as f32 * TAU;
            let at = heart + on_circle(angle) * (radius * share * 0.52);
            let petal = Path::ellipse(at, radius * share * 0.48, radius * share * 0.46, angle);
            canvas.cast_shadow(&petal, point(0.0, radius * 0.02), radius * 0.05, 0.22);
            canvas.paint_path(&petal, |place| {
                let far = (place - heart).length() / (radius * share);
                tone.scale_by(0.80 + 0.26 * far)
            });
        }
    }
    paint_core(canvas, heart, radius * 0.14, petals.scale_by(0.66));
}

fn paint_tulip(
    canvas: &mut Canvas,
    random: &mut Random,
    petals: Colour,
    heart: Point,
    radius: f32,
    turn: f32,
) {
    let lean = random.float_around(0.15);
    for (dx, width, tone) in [(-0.36, 0.40, 0.82), (0.36, 0.40, 0.90), (0.0, 0.46, 1.06)] {
        let petal = Path::smooth_closed(&[
            point(0.0, 0.95),
            point(dx - width * 0.75, 0.45),
            point(dx - width * 0.80, -0.2),
            point(dx * 1.15, -1.0),
            point(dx + width * 0.80, -0.2),
            point(dx + width * 0.75, 0.45),
        ])
        .place_at(heart, radius, turn * 0.15 + lean);
        canvas.cast_shadow(&petal, point(0.0, 0.0), radius * 0.08, 0.25);
        canvas.paint_path(&petal, |place| {
            let up = (heart.y - place.y) / radius;
            petals.scale_by(tone * (0.92 + 0.14 * up))
        });
    }
}

/// Paints petals around a heart, each an ellipse that starts near it.
#[allow(clippy::too_many_arguments)]
fn paint_petal_ring(
    canvas: &mut Canvas,
    heart: Point,
    radius: f32,
    turn: f32,
    count: u32,
    breadth: f32,
    petals: Colour,
    inset: f32,
) {
    for i in 0..count {
        let angle = turn + i as f32 / count as f32 * TAU;
        let at = heart + on_circle(angle) * (radius * (0.6 + inset));
        let petal = Path::ellipse(at, radius * 0.4, radius * breadth, angle);
        let tone = if i % 2 == 0 { 1.0 } else { 0.93 };
        canvas.cast_shadow(&petal, point(0.0, radius * 0.02), radius * 0.04, 0.2);
        canvas.paint_path(&petal, |place| {
            let far = (place - heart).length() / radius;
            petals.scale_by(tone * (0.78 + 0.24 * far))
        });
    }
}

fn paint_core(canvas: &mut Canvas, heart: Point, radius: f32, colour: Colour) {
    canvas.cast_shadow(
        &Path::circle(heart, radius),
        point(0.0, radius * 0.1),
        radius * 0.3,
        0.3,
    );
    canvas.paint_path(&Path::circle(heart, radius), |place| {
        let d = (place - heart) * (1.0 / radius);
        colour.scale_by(1.05 - 0.25 * d.y - 0.2 * d.x)
    });
}
