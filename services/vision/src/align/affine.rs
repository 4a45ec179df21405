//! Affine maps of points.

/// Maps a point (x, y) to (a·x + b·y + c, d·x + e·y + f).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineMap {
    /// a, b, c, d, e, f.
    pub matrix: [f64; 6],
}

impl AffineMap {
    pub const IDENTITY: Self = Self {
        matrix: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    };

    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.matrix;
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// Returns the factor by which areas grow; negative if the map mirrors.
    pub fn determinant(&self) -> f64 {
        let [a, b, _, d, e, _] = self.matrix;
        a * e - b * d
    }

    /// Returns the map back, unless this one maps everything to a line.
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, c, d, e, f] = self.matrix;
        let determinant = self.determinant();
        if !determinant.is_finite() || determinant.abs() < 1e-12 {
            return None;
        }
        let (a, b, d, e) = (
            e / determinant,
            -b / determinant,
            -d / determinant,
            a / determinant,
        );
        Some(Self {
            matrix: [a, b, -(a * c + b * f), d, e, -(d * c + e * f)],
        })
    }

    /// Returns the angle by which the map turns, clockwise in a picture, in degrees from −180 to 180. A map
    /// that mirrors first mirrors left and right, and then turns by this angle.
    pub fn angle(&self) -> f64 {
        let [a, b, _, d, e, _] = self.matrix;
        // The rotation nearest to the linear part without its mirroring.
        let mirror = if self.determinant() < 0.0 { -1.0 } else { 1.0 };
        (mirror * d - b).atan2(mirror * a + e).to_degrees()
    }

    /// Returns by how much the map stretches horizontal and vertical lines.
    pub fn scales(&self) -> (f64, f64) {
        let [a, b, _, d, e, _] = self.matrix;
        (a.hypot(d), b.hypot(e))
    }

    /// Returns the map between pictures of other sizes: a point is first multiplied by `before`, and the result
    /// by `after`, for each axis.
    pub(super) fn rescaled(&self, before: (f64, f64), after: (f64, f64)) -> Self {
        let [a, b, c, d, e, f] = self.matrix;
        Self {
            matrix: [
                a * before.0 * after.0,
                b * before.1 * after.0,
                c * after.0,
                d * before.0 * after.1,
                e * before.1 * after.1,
                f * after.1,
            ],
        }
    }

    /// Returns whether the maps differ by less than `distance` at the corners of a square with this side.
    pub(super) fn is_near(&self, other: &Self, distance: f64, side: f64) -> bool {
        let corners = [(0.0, 0.0), (side, 0.0), (0.0, side), (side, side)];
        corners.into_iter().all(|(x, y)| {
            let ((x1, y1), (x2, y2)) = (self.apply(x, y), other.apply(x, y));
            (x1 - x2).hypot(y1 - y2) < distance
        })
    }

    /// Returns the area of the first picture, in its pixels, that maps into the second one. Both are
    /// given by width and height.
    ///
    /// The frame of the second picture is clipped at each side of the first one (Sutherland and Hodgman,
    /// *Reentrant Polygon Clipping*, 1974).
    pub(super) fn common_area(&self, size: (f64, f64), other: (f64, f64)) -> f64 {
        let Some(inverse) = self.inverse() else {
            return 0.0;
        };
        let (width, height) = other;
        let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
        let mut polygon: Vec<(f64, f64)> =
            corners.iter().map(|(x, y)| inverse.apply(*x, *y)).collect();
        // Factors of x and y, and a constant: inside, the distance from a side is not negative.
        let sides = [
            (1.0, 0.0, 0.0),
            (-1.0, 0.0, size.0),
            (0.0, 1.0, 0.0),
            (0.0, -1.0, size.1),
        ];
        for (of_x, of_y, constant) in sides {
            let distance = |point: &(f64, f64)| of_x * point.0 + of_y * point.1 + constant;
            let mut clipped = Vec::with_capacity(polygon.len() + 1);
            for (at, point) in polygon.iter().enumerate() {
                let next = &polygon[(at + 1) % polygon.len()];
                let (here, there) = (distance(point), distance(next));
                if here >= 0.0 {
                    clipped.push(*point);
                }
                if (here >= 0.0) != (there >= 0.0) {
                    let share = here / (here - there);
                    let along = |from: f64, to: f64| from + share * (to - from);
                    clipped.push((along(point.0, next.0), along(point.1, next.1)));
                }
            }
            polygon = clipped;
        }
        let next = polygon.iter().cycle().skip(1);
        let doubled: f64 = polygon
            .iter()
            .zip(next)
            .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
            .sum();
        doubled.abs() / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(matrix: [f64; 6]) -> AffineMap {
        AffineMap { matrix }
    }

    #[test]
    fn maps_are_inverted() {
        let half = map([0.5, 0.1, 3.0, -0.2, 0.4, 7.0]);
        let inverse = half.inverse().unwrap();
        let (x, y) = half.apply(11.0, 5.0);
        let (x, y) = inverse.apply(x, y);
        assert!((x - 11.0).abs() < 1e-9 && (y - 5.0).abs() < 1e-9);
        assert_eq!(map([1.0, 2.0, 0.0, 2.0, 4.0, 0.0]).inverse(), None);
    }

    #[test]
    fn angles_are_clockwise_after_mirroring() {
        for (matrix, angle) in [
            ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 0.0),
            // The right end of a line points down.
            ([0.0, -2.0, 0.0, 2.0, 0.0, 0.0], 90.0),
            ([-1.0, 0.0, 9.0, 0.0, -1.0, 9.0], 180.0),
            // Left and right are exchanged, then top and bottom.
            ([-1.0, 0.0, 9.0, 0.0, 1.0, 0.0], 0.0),
            ([1.0, 0.0, 0.0, 0.0, -1.0, 9.0], 180.0),
        ] {
            let found = map(matrix).angle();
            assert!((found.abs() - angle).abs() < 1e-9, "{matrix:?}: {found}");
        }
        let turned = map([0.0, -1.0, 0.0, 1.0, 0.0, 0.0]);
        assert!((turned.angle() - 90.0).abs() < 1e-9);
    }

    #[test]
    fn common_areas_are_clipped() {
        let area = |matrix: [f64; 6]| map(matrix).common_area((10.0, 10.0), (10.0, 10.0));
        let close = |area: f64, expected: f64| assert!((area - expected).abs() < 1e-9, "{area}");
        close(area([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), 100.0);
        close(area([1.0, 0.0, 4.0, 0.0, 1.0, 0.0]), 60.0);
        close(area([2.0, 0.0, 0.0, 0.0, 2.0, 0.0]), 25.0);
        close(area([0.5, 0.0, 1.0, 0.0, 0.5, 1.0]), 100.0);
        close(area([1.0, 0.0, 40.0, 0.0, 1.0, 0.0]), 0.0);
        // A square on its corner, whose corners are cut off.
        let turned = [0.5_f64.sqrt(); 2];
        let [c, s] = turned;
        let matrix = [c, -s, 5.0, s, c, 5.0 - 10.0 * s];
        let octagon = 100.0 * (2.0 * 2.0_f64.sqrt() - 2.0);
        close(area(matrix), octagon);
    }
}
