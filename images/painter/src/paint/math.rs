//! Points, interpolation, and sine and cosine that are bit-identical on every machine.

use std::ops::{Add, Mul, Sub};

pub const TAU: f32 = std::f32::consts::TAU;

/// A place or an offset on the canvas, in units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    pub x: f32,
    /// Grows downwards.
    pub y: f32,
}

pub const fn point(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Add for Point {
    type Output = Point;
    fn add(self, other: Point) -> Point {
        point(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Point;
    fn sub(self, other: Point) -> Point {
        point(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Point;
    fn mul(self, factor: f32) -> Point {
        point(self.x * factor, self.y * factor)
    }
}

impl Point {
    /// Returns the distance from the origin.
    pub fn length(self) -> f32 {
        (self.x * self.x + self.y * self.y).sqrt()
    }

    /// Returns the same direction with length one; the origin stays the origin.
    pub fn to_unit(self) -> Point {
        let length = self.length();
        if length > 0.0 {
            self * (1.0 / length)
        } else {
            self
        }
    }

    /// Rotates about the origin by `angle` radians, clockwise as seen because `y` grows downwards.
    pub fn rotate_by(self, angle: f32) -> Point {
        let (sine, cosine) = (sin(angle), cos(angle));
        point(
            self.x * cosine - self.y * sine,
            self.x * sine + self.y * cosine,
        )
    }

    pub fn midpoint_to(self, other: Point) -> Point {
        (self + other) * 0.5
    }

    /// Returns the scalar product.
    pub fn dot(self, other: Point) -> f32 {
        self.x * other.x + self.y * other.y
    }
}

/// Returns the sine of `angle` radians to about six digits, bit-identical on every machine. The
/// standard library's sine uses the platform's C library.
pub fn sin(angle: f32) -> f32 {
    const PI: f64 = std::f64::consts::PI;
    let angle = f64::from(angle);
    let mut x = angle - (angle / (2.0 * PI)).floor() * 2.0 * PI - PI;
    // sin(x + π) = −sin(x); then fold into −π/2…π/2, where the series is short.
    if x > PI / 2.0 {
        x = PI - x;
    } else if x < -PI / 2.0 {
        x = -PI - x;
    }
    let s = x * x;
    let series = 1.0
        + s * (-1.0 / 6.0
            + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362_880.0 - s / 39_916_800.0))));
    (-x * series) as f32
}

/// Returns the cosine of `angle` radians; see [`sin`].
pub fn cos(angle: f32) -> f32 {
    sin(angle + TAU / 4.0)
}

/// Returns the point at `angle` radians on the unit circle.
pub fn on_circle(angle: f32) -> Point {
    point(cos(angle), sin(angle))
}

/// Interpolates from `a` (at 0) to `b` (at 1), and extrapolates beyond.
pub fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Maps `x` from `low`…`high` to 0…1, clamped. With `low > high` it falls instead of rising.
pub fn linear_step(low: f32, high: f32, x: f32) -> f32 {
    ((x - low) / (high - low)).clamp(0.0, 1.0)
}

/// Maps like [`linear_step`], but with zero slope at both ends.
pub fn smooth_step(low: f32, high: f32, x: f32) -> f32 {
    let t = linear_step(low, high, x);
    t * t * (3.0 - 2.0 * t)
}

/// Raises `base` to a whole power by squaring; `powi` may differ between platforms.
pub fn raise_power(base: f32, exponent: u32) -> f32 {
    let (mut result, mut square, mut rest) = (1.0, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_agree_with_the_platform() {
        for step in -2000..2000 {
            let angle = step as f32 * 0.013;
            assert!((sin(angle) - angle.sin()).abs() < 2e-6, "sin {angle}");
            assert!((cos(angle) - angle.cos()).abs() < 3e-6, "cos {angle}");
        }
    }

    #[test]
    fn powers_are_products() {
        assert_eq!(raise_power(2.0, 10), 1024.0);
        assert_eq!(raise_power(3.0, 0), 1.0);
    }
}
