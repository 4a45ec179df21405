//! Light on round surfaces.

use super::canvas::Canvas;
use super::colour::{Colour, rgb};
use super::math::{Point, point, raise_power};
use super::path::Path;
use super::random::Random;

/// Direction and colour of the light in a scene.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// Direction towards the light along the canvas: `x` right, `y` down.
    pub towards: Point,
    /// Distance of the light in front of the canvas: 1 with `towards` of length 1 is 45°.
    pub height: f32,
    /// Multiplies the colours of lit surfaces.
    pub colour: Colour,
    /// Brightness of unlit sides, 0…1.
    pub ambient: f32,
}

impl Light {
    /// Draws a lamp or window at the upper left or right, with warm, neutral or cool light.
    pub fn indoors(random: &mut Random) -> Light {
        let side = random.next_sign();
        let colours = [
            rgb(1.06, 1.0, 0.90),
            rgb(1.02, 1.0, 0.96),
            rgb(1.0, 1.0, 1.0),
            rgb(0.94, 0.99, 1.06),
        ];
        Light {
            towards: point(
                side * random.float_between(0.45, 0.9),
                -random.float_between(0.45, 0.8),
            ),
            height: random.float_between(0.6, 1.0),
            colour: random.choose_from(&colours),
            ambient: random.float_between(0.34, 0.48),
        }
    }

    /// Returns the brightness, 0…1, of a surface with normal `(x, y, z)`: unit length, `z` towards the viewer.
    pub fn brightness_on(&self, x: f32, y: f32, z: f32) -> f32 {
        let (tx, ty, tz) = self.direction();
        // A wrapped cosine: light reaches slightly around the edge, as it does in a room.
        let facing = ((x * tx + y * ty + z * tz + 0.25) / 1.25).max(0.0);
        self.ambient + (1.0 - self.ambient) * facing
    }

    /// Returns the specular highlight of a surface with normal `(x, y, z)`; higher `polish` makes it smaller.
    pub fn gleam_on(&self, x: f32, y: f32, z: f32, polish: u32) -> f32 {
        let (tx, ty, tz) = self.direction();
        let length = (tx * tx + ty * ty + (tz + 1.0) * (tz + 1.0)).sqrt();
        raise_power(
            ((x * tx + y * ty + z * (tz + 1.0)) / length).max(0.0),
            polish,
        )
    }

    /// Returns the offset of the shadow that an object of this height casts on a table.
    pub fn shadow_offset(&self, height: f32) -> Point {
        point(-self.towards.x * height * 0.55, height * 0.10)
    }

    fn direction(&self) -> (f32, f32, f32) {
        let (x, y, z) = (self.towards.x, self.towards.y, self.height);
        let length = (x * x + y * y + z * z).sqrt();
        (x / length, y / length, z / length)
    }
}

/// Returns the normal of a ball at `u`, `v` of its disc (−1…1 each).
pub fn ball_normal(u: f32, v: f32) -> (f32, f32, f32) {
    let flat = (u * u + v * v).min(1.0);
    (u, v, (1.0 - flat).sqrt())
}

/// Paints an ellipse as a lit ball. `skin(u, v)` returns its unlit colour at −1…1 along each half-axis.
pub fn paint_ball(
    canvas: &mut Canvas,
    light: &Light,
    centre: Point,
    rx: f32,
    ry: f32,
    polish: f32,
    skin: impl Fn(f32, f32) -> Colour,
) {
    canvas.paint_path(&Path::ellipse(centre, rx, ry, 0.0), |place| {
        let (u, v) = ((place.x - centre.x) / rx, (place.y - centre.y) / ry);
        let (x, y, z) = ball_normal(u, v);
        shade_surface(light, skin(u, v), (x, y, z), polish)
    });
}

/// Returns the lit colour of a surface with the given normal; `polish` 0 is chalk, 1 is glass.
pub fn shade_surface(light: &Light, skin: Colour, normal: (f32, f32, f32), polish: f32) -> Colour {
    let (x, y, z) = normal;
    let gleam =
        light.gleam_on(x, y, z, 40) * 0.75 * polish + light.gleam_on(x, y, z, 8) * 0.14 * polish;
    // Light reflected by the table from below.
    let bounce = (y * 0.5 + 0.1).max(0.0) * 0.16;
    skin.lit_by(light.colour)
        .scale_by((light.brightness_on(x, y, z) + bounce) * 1.12)
        .add_light(light.colour.scale_by(gleam))
}

/// Returns the outline of a solid of revolution with an upright axis at `x`, between `top` and
/// `bottom`. `radius(t)` is its radius from top (0) to bottom (1). `tilt` (height of an ellipse ÷
/// its width) is how far the view is from above; it rounds the foot.
pub fn lathe_outline(
    x: f32,
    top: f32,
    bottom: f32,
    tilt: f32,
    radius: impl Fn(f32) -> f32,
) -> Path {
    let steps = 80;
    let mut contour = Vec::new();
    for i in 0..=steps {
        let t = i as f32 / steps as f32;
        contour.push(point(x + radius(t), top + (bottom - top) * t));
    }
    let foot = radius(1.0);
    for i in 1..40 {
        let on = super::math::on_circle(i as f32 / 80.0 * super::math::TAU);
        contour.push(point(x + on.x * foot, bottom + on.y * foot * tilt));
    }
    for i in (0..=steps).rev() {
        let t = i as f32 / steps as f32;
        contour.push(point(x - radius(t), top + (bottom - top) * t));
    }
    Path {
        contours: vec![contour],
    }
}

/// Returns the normal of a solid of revolution at `u` (−1…1 across), where its outline widens by
/// `slope` per unit of height downwards.
pub fn lathe_normal(u: f32, slope: f32) -> (f32, f32, f32) {
    let u = u.clamp(-1.0, 1.0);
    let (x, y, z) = (u, -slope, (1.0 - u * u).sqrt());
    let length = (x * x + y * y + z * z).sqrt();
    (x / length, y / length, z / length)
}

/// Paints a solid of revolution (see [`lathe_outline`]). `skin(u, t)` returns its unlit colour at −1…1
/// across and 0…1 downwards.
#[allow(clippy::too_many_arguments)]
pub fn paint_lathe(
    canvas: &mut Canvas,
    light: &Light,
    x: f32,
    (top, bottom): (f32, f32),
    tilt: f32,
    polish: f32,
    radius: impl Fn(f32) -> f32,
    skin: impl Fn(f32, f32) -> Colour,
) {
    let outline = lathe_outline(x, top, bottom, tilt, &radius);
    let height = bottom - top;
    canvas.paint_path(&outline, |place| {
        // The view is slightly from above, so rings of constant `t` sag towards the middle.
        let straight = ((place.y - top) / height).clamp(0.0, 1.0);
        let r = radius(straight).max(1e-4);
        let u = ((place.x - x) / r).clamp(-1.0, 1.0);
        let sag = r * tilt * (1.0 - u * u).sqrt() / height;
        let t = (straight - sag).clamp(0.0, 1.0);
        let slope = (radius((straight + 0.02).min(1.0)) - radius((straight - 0.02).max(0.0)))
            / (0.04 * height);
        shade_surface(light, skin(u, t), lathe_normal(u, slope), polish)
    });
}

/// Interpolates a profile for [`paint_lathe`]: a smooth curve through radii at even distances from top to bottom.
pub fn profile_radius(radii: &[f32], t: f32) -> f32 {
    let last = radii.len() - 1;
    let place = t.clamp(0.0, 1.0) * last as f32;
    let i = (place as usize).min(last - 1);
    let t = place - i as f32;
    let (a, b) = (radii[i.saturating_sub(1)], radii[i]);
    let (c, d) = (radii[i + 1], radii[(i + 2).min(last)]);
    (b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a))))
        .max(0.0)
}
