//! Describes in words and numbers what differs between two images.

use lookalike_index::IndexedImage;
use lookalike_vision::{AffineMap, Alignment, Band, LookDifference};

use super::difference::{ImageDifference, ImageDifferenceKind};

/// What was measured of the pictures themselves.
pub(super) struct ComparedLooks {
    pub alignment: Option<Alignment>,
    /// Of what both show, or of the whole pictures without an alignment.
    pub look: LookDifference,
}

/// Changes of the size by a smaller share are within the accuracy of an alignment.
const MIN_SIZE_CHANGE: f64 = 0.015;
/// Widths and heights whose factors differ by a smaller share are called proportional.
const MIN_STRETCH: f64 = 0.02;
/// A picture that shows more than this of the other one's width and height is not cropped.
const MAX_CROPPED_SHARE: f64 = 0.98;
/// Angles below this are within the accuracy of an alignment, in degrees.
const MIN_ANGLE: f64 = 0.7;
/// Angles this near to a quarter turn are one, in degrees.
const QUARTER_TOLERANCE: f64 = 1.0;
/// Changes of the brightness: as a share, and in levels.
const MIN_BRIGHTNESS_CHANGE: f64 = 0.03;
const MIN_LEVEL_CHANGE: f64 = 2.0;
/// Changes of the contrast and of the saturation, as a share.
const MIN_CONTRAST_CHANGE: f64 = 0.08;
const MIN_SATURATION_CHANGE: f64 = 0.12;
/// Saturations of a picture without colours and of one with colours, in levels.
const MAX_GRAY_SATURATION: f64 = 1.5;
const MIN_COLOUR_SATURATION: f64 = 4.0;
/// Shifts of all colours, in levels.
const MIN_TINT: f64 = 4.0;
/// A share of the common area that shows something else, below which noise explains it.
const MIN_CHANGED: f64 = 0.04;
/// Changes of the file size, as a share.
const MIN_BYTES_CHANGE: f64 = 0.05;

/// Describes all differences between two images of different content.
pub(super) fn describe_differences(
    a: &IndexedImage,
    b: &IndexedImage,
    band: Option<Band>,
    looks: &ComparedLooks,
) -> Vec<ImageDifference> {
    let mut list = DifferenceList(Vec::new());
    let is_copy = band.is_some_and(|band| band <= Band::NearDuplicate);
    match &looks.alignment {
        Some(alignment) => {
            list.add_scale(a, b, &alignment.map);
            list.add_format(a, b);
            list.add_crops(a, b, alignment);
            list.add_orientation(&alignment.map);
        }
        None => {
            list.add_pixel_size(a, b);
            list.add_format(a, b);
        }
    }
    if looks.alignment.is_some() || is_copy {
        list.add_light(&looks.look);
        list.add_colour(&looks.look);
    }
    match &looks.alignment {
        Some(alignment) if alignment.changed >= MIN_CHANGED => {
            let detail = format!(
                "{} of what both show differs, for example a caption or a retouched part",
                percent(alignment.changed)
            );
            list.add(ImageDifferenceKind::Content, detail);
        }
        Some(_) => {}
        None if is_copy => {}
        None => list.add(
            ImageDifferenceKind::Content,
            "a and b are different pictures",
        ),
    }
    list.add_recompression(a, b);
    list.0
}

struct DifferenceList(Vec<ImageDifference>);

impl DifferenceList {
    fn add(&mut self, kind: ImageDifferenceKind, detail: impl Into<String>) {
        let detail = detail.into();
        self.0.push(ImageDifference { kind, detail });
    }

    fn has(&self, kind: ImageDifferenceKind) -> bool {
        self.0.iter().any(|difference| difference.kind == kind)
    }

    fn add_scale(&mut self, a: &IndexedImage, b: &IndexedImage, map: &AffineMap) {
        let (wide, high) = map.scales();
        let scale = map.determinant().abs().sqrt();
        let sizes = format!(
            "{} × {} instead of {} × {} pixels",
            b.width, b.height, a.width, a.height
        );
        if (wide / high - 1.0).abs() >= MIN_STRETCH {
            let (wide, high) = (format_factor(wide), format_factor(high));
            let detail = format!("b is {wide} × as wide and {high} × as high as a: {sizes}");
            self.add(ImageDifferenceKind::Size, detail);
        } else if (scale - 1.0).abs() >= MIN_SIZE_CHANGE {
            let detail = format!("b is {} × a: {sizes}", format_factor(scale));
            self.add(ImageDifferenceKind::Size, detail);
        }
    }

    fn add_pixel_size(&mut self, a: &IndexedImage, b: &IndexedImage) {
        if (a.width, a.height) != (b.width, b.height) {
            let detail = format!(
                "b has {} × {} pixels, a has {} × {}",
                b.width, b.height, a.width, a.height
            );
            self.add(ImageDifferenceKind::Size, detail);
        }
    }

    fn add_format(&mut self, a: &IndexedImage, b: &IndexedImage) {
        if a.format != b.format {
            let detail = format!("b is {}, a is {}", b.format, a.format);
            self.add(ImageDifferenceKind::Format, detail);
        }
    }

    /// Two files without another difference were compressed differently, or have other metadata.
    fn add_recompression(&mut self, a: &IndexedImage, b: &IndexedImage) {
        let resized = [
            ImageDifferenceKind::Size,
            ImageDifferenceKind::Crop,
            ImageDifferenceKind::Format,
        ];
        let ratio = b.bytes.max(1) as f64 / a.bytes.max(1) as f64;
        if self.has(ImageDifferenceKind::Content) || resized.into_iter().any(|kind| self.has(kind))
        {
            return;
        }
        if (ratio - 1.0).abs() >= MIN_BYTES_CHANGE {
            let detail = format!(
                "both are {}; the file of b has {} × the bytes of a",
                a.format,
                format_factor(ratio)
            );
            self.add(ImageDifferenceKind::Format, detail);
        } else if self.0.is_empty() {
            let detail = format!(
                "both are {} and look the same; only the files differ",
                a.format
            );
            self.add(ImageDifferenceKind::Format, detail);
        }
    }

    fn add_crops(&mut self, a: &IndexedImage, b: &IndexedImage, alignment: &Alignment) {
        let size = |image: &IndexedImage| (f64::from(image.width), f64::from(image.height));
        let is_straight = quarter_of(alignment.map.angle()).is_some();
        if let Some(inverse) = alignment.map.inverse() {
            let shown = ShownPart::new(&inverse, size(b), size(a));
            if let Some(part) = shown.describe(alignment.overlap, is_straight) {
                self.add(ImageDifferenceKind::Crop, format!("b shows {part} of a"));
            }
        }
        let shown = ShownPart::new(&alignment.map, size(a), size(b));
        if let Some(part) = shown.describe(alignment.other_overlap, is_straight) {
            let detail = format!("b shows more than a: a is {part} of b");
            self.add(ImageDifferenceKind::Crop, detail);
        }
    }

    fn add_orientation(&mut self, map: &AffineMap) {
        let angle = map.angle();
        let is_mirrored = map.determinant() < 0.0;
        if is_mirrored && quarter_of(angle) == Some(180) {
            self.add(ImageDifferenceKind::Mirror, "b is mirrored top to bottom");
            return;
        }
        let mut order = "";
        if is_mirrored {
            self.add(ImageDifferenceKind::Mirror, "b is mirrored left to right");
            order = "then ";
        }
        let detail = match quarter_of(angle) {
            Some(0) if angle.abs() < MIN_ANGLE => return,
            Some(180) => format!("b is {order}turned by 180°"),
            Some(quarter) if quarter != 0 => {
                format!("b is {order}turned by 90° {}", direction(angle))
            }
            _ => format!(
                "b is {order}turned by {:.1}° {}",
                angle.abs(),
                direction(angle)
            ),
        };
        self.add(ImageDifferenceKind::Rotation, detail);
    }

    fn add_light(&mut self, look: &LookDifference) {
        let (a, b) = (&look.first, &look.second);
        let change = b.brightness / a.brightness.max(1.0) - 1.0;
        let levels = (b.brightness - a.brightness).abs();
        if change.abs() >= MIN_BRIGHTNESS_CHANGE && levels >= MIN_LEVEL_CHANGE {
            let word = if change > 0.0 { "brighter" } else { "darker" };
            let detail = format!("b is {} {word}", percent(change.abs()));
            self.add(ImageDifferenceKind::Light, detail);
        }
        let change = b.contrast / a.contrast.max(1.0) - 1.0;
        let levels = (b.contrast - a.contrast).abs();
        if change.abs() >= MIN_CONTRAST_CHANGE && levels >= MIN_LEVEL_CHANGE {
            let word = if change > 0.0 { "more" } else { "less" };
            let detail = format!("b has {} {word} contrast", percent(change.abs()));
            self.add(ImageDifferenceKind::Light, detail);
        }
    }

    fn add_colour(&mut self, look: &LookDifference) {
        let (a, b) = (&look.first, &look.second);
        let is_gray = |saturation: f64| saturation < MAX_GRAY_SATURATION;
        let has_colours = |saturation: f64| saturation >= MIN_COLOUR_SATURATION;
        if is_gray(b.saturation) && has_colours(a.saturation) {
            self.add(ImageDifferenceKind::Colour, "b has no colours");
            return;
        }
        if is_gray(a.saturation) && has_colours(b.saturation) {
            self.add(ImageDifferenceKind::Colour, "a has no colours");
            return;
        }
        let change = b.saturation / a.saturation.max(1.0) - 1.0;
        let levels = (b.saturation - a.saturation).abs();
        if change.abs() >= MIN_SATURATION_CHANGE && levels >= MIN_LEVEL_CHANGE {
            let word = if change > 0.0 { "more" } else { "less" };
            let detail = format!(
                "the colours of b are {} {word} saturated",
                percent(change.abs())
            );
            self.add(ImageDifferenceKind::Colour, detail);
        }
        let (blue, red) = (b.blue - a.blue, b.red - a.red);
        let (shift, word) = match blue.abs() >= red.abs() {
            true => (blue, if blue > 0.0 { "bluer" } else { "yellower" }),
            false => (red, if red > 0.0 { "redder" } else { "greener" }),
        };
        if shift.abs() >= MIN_TINT {
            let detail = format!("b is {word} by {:.0} of 255 levels", shift.abs());
            self.add(ImageDifferenceKind::Colour, detail);
        }
    }
}

/// The part of a picture that another one shows, as shares of its sides.
struct ShownPart {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl ShownPart {
    /// Maps the frame of one picture to the other one. Sizes are width and height in pixels.
    fn new(map: &AffineMap, frame: (f64, f64), picture: (f64, f64)) -> Self {
        let corners = [
            map.apply(0.0, 0.0),
            map.apply(frame.0, 0.0),
            map.apply(0.0, frame.1),
            map.apply(frame.0, frame.1),
        ];
        let least = |values: [f64; 4]| values.into_iter().fold(f64::INFINITY, f64::min);
        let most = |values: [f64; 4]| values.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let (x, y) = (
            corners.map(|corner| corner.0),
            corners.map(|corner| corner.1),
        );
        Self {
            left: (least(x) / picture.0.max(1.0)).clamp(0.0, 1.0),
            top: (least(y) / picture.1.max(1.0)).clamp(0.0, 1.0),
            right: (most(x) / picture.0.max(1.0)).clamp(0.0, 1.0),
            bottom: (most(y) / picture.1.max(1.0)).clamp(0.0, 1.0),
        }
    }

    /// Describes the part; `None` if it is the whole picture. The frame of a picture that is turned by an odd
    /// angle is larger than what it shows, so only its area is described.
    fn describe(&self, area: f64, is_straight: bool) -> Option<String> {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        if !is_straight {
            return (area < MAX_CROPPED_SHARE * MAX_CROPPED_SHARE).then(|| percent(area));
        }
        if width >= MAX_CROPPED_SHARE && height >= MAX_CROPPED_SHARE {
            return None;
        }
        let side = |start: f64, end: f64, names: [&'static str; 2]| {
            let (before, after) = (start, 1.0 - end);
            match (before - after).abs() < 0.04 {
                true => "",
                false if before < after => names[0],
                false => names[1],
            }
        };
        let vertical = side(self.top, self.bottom, ["top", "bottom"]);
        let horizontal = side(self.left, self.right, ["left", "right"]);
        let place = match (vertical, horizontal) {
            ("", "") => "middle".to_owned(),
            (vertical, "") => vertical.to_owned(),
            ("", horizontal) => horizontal.to_owned(),
            (vertical, horizontal) => format!("{vertical} {horizontal}"),
        };
        Some(format!(
            "the {place} {} × {}",
            percent(width),
            percent(height)
        ))
    }
}

/// Returns 0, 90 or 180 if the angle is near a quarter turn in either direction.
fn quarter_of(angle: f64) -> Option<u16> {
    [0_u16, 90, 180]
        .into_iter()
        .find(|quarter| (angle.abs() - f64::from(*quarter)).abs() <= QUARTER_TOLERANCE)
}

fn direction(angle: f64) -> &'static str {
    if angle > 0.0 {
        "clockwise"
    } else {
        "counterclockwise"
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Formats a factor with two digits after the first one that is not zero, at least.
fn format_factor(factor: f64) -> String {
    match factor {
        factor if factor < 0.0995 => format!("{factor:.3}"),
        factor if factor < 9.95 => format!("{factor:.2}"),
        factor => format!("{factor:.1}"),
    }
}

#[cfg(test)]
mod tests;
