//! Outlines of shapes: closed contours of straight segments, short enough to look round.

use super::math::{Point, TAU, on_circle, point};

/// The outline of a shape: one or more closed contours, filled by the non-zero rule. Overlapping
/// contours of the same direction add up; a contour of the opposite direction cuts a hole.
#[derive(Debug, Clone, Default)]
pub struct Path {
    /// The corners of each contour; the last one is connected to the first.
    pub contours: Vec<Vec<Point>>,
}

/// Number of straight segments of an ellipse.
const ROUND_PIECES: usize = 96;

impl Path {
    pub fn polygon(corners: &[Point]) -> Path {
        Path {
            contours: vec![corners.to_vec()],
        }
    }

    pub fn rectangle(left: f32, top: f32, right: f32, bottom: f32) -> Path {
        Path::polygon(&[
            point(left, top),
            point(right, top),
            point(right, bottom),
            point(left, bottom),
        ])
    }

    /// Makes an upright rectangle with round corners of the given radius.
    pub fn rounded_rectangle(left: f32, top: f32, right: f32, bottom: f32, radius: f32) -> Path {
        let r = radius.min((right - left) / 2.0).min((bottom - top) / 2.0);
        let corners = [
            (point(right - r, bottom - r), 0.0),
            (point(left + r, bottom - r), 0.25),
            (point(left + r, top + r), 0.5),
            (point(right - r, top + r), 0.75),
        ];
        let mut contour = Vec::new();
        for (centre, start) in corners {
            for step in 0..=12 {
                let angle = (start + step as f32 / 48.0) * TAU;
                contour.push(centre + on_circle(angle) * r);
            }
        }
        Path {
            contours: vec![contour],
        }
    }

    /// Makes an ellipse with half-axes `rx` and `ry`, rotated by `angle` radians.
    pub fn ellipse(centre: Point, rx: f32, ry: f32, angle: f32) -> Path {
        let contour = (0..ROUND_PIECES)
            .map(|i| {
                let on = on_circle(i as f32 / ROUND_PIECES as f32 * TAU);
                centre + point(on.x * rx, on.y * ry).rotate_by(angle)
            })
            .collect();
        Path {
            contours: vec![contour],
        }
    }

    pub fn circle(centre: Point, radius: f32) -> Path {
        Path::ellipse(centre, radius, radius, 0.0)
    }

    /// Makes a smooth closed curve through the given points (Catmull-Rom).
    pub fn smooth_closed(through: &[Point]) -> Path {
        let count = through.len();
        let mut contour = Vec::with_capacity(count * 12);
        for i in 0..count {
            let at = |k: usize| through[(i + k + count - 1) % count];
            curve_piece(&mut contour, [at(0), at(1), at(2), at(3)]);
        }
        Path {
            contours: vec![contour],
        }
    }

    /// Makes a band along a smooth line through the given points, with round ends. Its half-width changes
    /// from `start` to `end`.
    pub fn stroked_line(through: &[Point], start: f32, end: f32) -> Path {
        let line = smooth_line(through);
        let last = line.len() - 1;
        let half_width = |i: usize| start + (end - start) * i as f32 / last as f32;
        let mut path = Path::default();
        for (i, pair) in line.windows(2).enumerate() {
            let (from, to) = (half_width(i), half_width(i + 1));
            let along = (pair[1] - pair[0]).to_unit();
            let across = point(-along.y, along.x);
            path.contours.push(vec![
                pair[0] + across * from,
                pair[0] - across * from,
                pair[1] - across * to,
                pair[1] + across * to,
            ]);
        }
        for (i, joint) in line.iter().enumerate() {
            let radius = half_width(i);
            // Joints inside the band only need to close the wedge between two segments.
            let corners = if i == 0 || i == last { 24 } else { 12 };
            path.contours.push(
                (0..corners)
                    .map(|k| *joint + on_circle(k as f32 / corners as f32 * TAU) * radius)
                    .collect(),
            );
        }
        path.align_winding();
        path
    }

    /// Makes the area between the curve `height(x)` and the line `bottom`, from `left` to `right`.
    pub fn area_under(left: f32, right: f32, bottom: f32, height: impl Fn(f32) -> f32) -> Path {
        let steps = 400;
        let mut contour: Vec<Point> = (0..=steps)
            .map(|i| {
                let x = left + (right - left) * i as f32 / steps as f32;
                point(x, height(x))
            })
            .collect();
        contour.push(point(right, bottom));
        contour.push(point(left, bottom));
        Path {
            contours: vec![contour],
        }
    }

    /// Applies a function to every corner.
    pub fn map_points(mut self, f: impl Fn(Point) -> Point) -> Path {
        for corner in self.contours.iter_mut().flatten() {
            *corner = f(*corner);
        }
        self
    }

    /// Scales about the origin, rotates by `angle` radians, then moves the origin to `to`: for shapes drawn
    /// around zero.
    pub fn place_at(self, to: Point, scale: f32, angle: f32) -> Path {
        self.map_points(|corner| to + (corner * scale).rotate_by(angle))
    }

    /// Joins both paths. All contours get the same direction, so they add up.
    pub fn union_with(mut self, other: Path) -> Path {
        self.contours.extend(other.contours);
        self.align_winding();
        self
    }

    fn align_winding(&mut self) {
        for contour in &mut self.contours {
            let area: f32 = (0..contour.len())
                .map(|i| {
                    let (a, b) = (contour[i], contour[(i + 1) % contour.len()]);
                    a.x * b.y - a.y * b.x
                })
                .sum();
            if area < 0.0 {
                contour.reverse();
            }
        }
    }
}

/// Returns a smooth open curve through the given points, as short straight segments.
pub fn smooth_line(through: &[Point]) -> Vec<Point> {
    let last = through.len() - 1;
    let mut line = Vec::with_capacity(last * 12 + 1);
    for i in 0..last {
        let before = through[i.saturating_sub(1)];
        let after = through[(i + 2).min(last)];
        curve_piece(&mut line, [before, through[i], through[i + 1], after]);
    }
    line.push(through[last]);
    line
}

/// Adds twelve points of the Catmull-Rom curve from `b` to `c`, `c` excluded.
fn curve_piece(line: &mut Vec<Point>, [a, b, c, d]: [Point; 4]) {
    for step in 0..12 {
        let t = step as f32 / 12.0;
        let (t2, t3) = (t * t, t * t * t);
        line.push(
            (b * 2.0
                + (c - a) * t
                + (a * 2.0 - b * 5.0 + c * 4.0 - d) * t2
                + (b * 3.0 - a - c * 3.0 + d) * t3)
                * 0.5,
        );
    }
}
