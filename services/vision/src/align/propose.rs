//! Proposes maps: one picture, reduced to a few cells, is compared with parts of the other one
//! (template matching by normalised cross-correlation).

use super::affine::AffineMap;
use super::plane::{LumaPlane, LumaPyramid};

/// A map from the first picture to the second one, in pixels of the largest levels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proposal {
    pub map: AffineMap,
    /// Of the compared cells, −1 to 1.
    pub correlation: f64,
}

/// Cells of the longer side of a whole picture.
const WHOLE_CELLS: usize = 16;
/// Cells of the longer side of a picture of which the other one may show a part. The part has at least a third
/// of the longer side.
const PART_CELLS: [usize; 27] = [
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 34, 36, 38, 40, 42, 44, 46,
    48, 50, 52,
];
/// Cells per side of a patch that is turned by any angle.
const PATCH_CELLS: usize = 12;
/// Side of the patch as a share of the shorter side of its picture.
const PATCH_SHARE: f64 = 0.6;
/// Angles between turned patches, in degrees.
const ANGLE_STEP: usize = 15;
/// Factors between the sizes of what both pictures show.
const SCALES: [f64; 9] = [0.4, 0.5, 0.64, 0.8, 1.0, 1.25, 1.56, 1.95, 2.44];
/// Cells of the longer side of a picture in which a patch is searched for.
const MAX_SEARCHED_CELLS: f64 = 72.0;
/// Proposals with a lower correlation are dropped.
const MIN_PROPOSED_CORRELATION: f64 = 0.5;
/// The same for whole pictures, of which one may have a caption or an overlay.
const MIN_FRAME_CORRELATION: f64 = 0.2;

/// Proposes maps without a turn, or with a quarter turn, a half turn or mirrored: onto the whole of the other
/// picture, and onto a part of it in either direction.
pub(super) fn propose_upright(planes: &LumaPyramid, others: &LumaPyramid) -> Vec<Proposal> {
    let mut proposals = propose_frames(planes, others);
    proposals.extend(propose_parts(planes, others));
    proposals.extend(
        propose_parts(others, planes)
            .into_iter()
            .filter_map(inverted),
    );
    proposals
}

/// Proposes maps with any angle.
pub(super) fn propose_any_angle(planes: &LumaPyramid, others: &LumaPyramid) -> Vec<Proposal> {
    let mut proposals = propose_patches(planes, others);
    proposals.extend(
        propose_patches(others, planes)
            .into_iter()
            .filter_map(inverted),
    );
    proposals
}

fn inverted(proposal: Proposal) -> Option<Proposal> {
    Some(Proposal {
        map: proposal.map.inverse()?,
        ..proposal
    })
}

/// One of the eight orientations: bit 0 mirrors left and right, bit 1 top and bottom, bit 2 then swaps rows
/// and columns.
fn orient(orientation: u8, x: f64, y: f64) -> (f64, f64) {
    let x = if orientation & 1 != 0 { 1.0 - x } else { x };
    let y = if orientation & 2 != 0 { 1.0 - y } else { y };
    if orientation & 4 != 0 { (y, x) } else { (x, y) }
}

/// Returns the map that takes three points, as unit coordinates of a window, to their targets.
fn map_of_unit(at: impl Fn(f64, f64) -> (f64, f64)) -> AffineMap {
    let (origin, right, down) = (at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0));
    AffineMap {
        matrix: [
            right.0 - origin.0,
            down.0 - origin.0,
            origin.0,
            right.1 - origin.1,
            down.1 - origin.1,
            origin.1,
        ],
    }
}

fn compose(first: &AffineMap, then: &AffineMap) -> AffineMap {
    map_of_unit(|x, y| {
        let (x, y) = first.apply(x, y);
        then.apply(x, y)
    })
}

/// Maps the frame of one picture to that of the other, also if their shapes differ.
fn propose_frames(planes: &LumaPyramid, others: &LumaPyramid) -> Vec<Proposal> {
    let cells = planes.largest().averaged(WHOLE_CELLS, WHOLE_CELLS);
    let other_cells = others.largest().averaged(WHOLE_CELLS, WHOLE_CELLS);
    let (size, other_size) = (planes.size(), others.size());
    let proposals = (0..8).map(|orientation| {
        let turned = oriented_cells(&cells, orientation);
        let correlation = Template::new(turned).correlate_at(&other_cells, 0, 0);
        // Unit coordinates of the other picture to pixels of this one.
        let from_other = map_of_unit(|x, y| {
            let (x, y) = orient(orientation, x, y);
            (x * size.0, y * size.1)
        });
        let to_unit =
            AffineMap::IDENTITY.rescaled((1.0, 1.0), (1.0 / other_size.0, 1.0 / other_size.1));
        let back = compose(&to_unit, &from_other);
        Proposal {
            map: back.inverse().unwrap_or(AffineMap::IDENTITY),
            correlation,
        }
    });
    proposals
        .filter(|proposal| proposal.correlation >= MIN_FRAME_CORRELATION)
        .collect()
}

/// Returns the cells as they are in the orientation.
fn oriented_cells(cells: &LumaPlane, orientation: u8) -> LumaPlane {
    let (width, height) = match orientation & 4 {
        0 => (cells.width, cells.height),
        _ => (cells.height, cells.width),
    };
    let values = (0..height).flat_map(|row| {
        (0..width).map(move |column| {
            let (x, y) = (
                (column as f64 + 0.5) / width as f64,
                (row as f64 + 0.5) / height as f64,
            );
            let (x, y) = orient(orientation, x, y);
            let at = |share: f64, count: usize| ((share * count as f64) as usize).min(count - 1);
            cells.at(at(x, cells.width), at(y, cells.height))
        })
    });
    LumaPlane {
        width,
        height,
        values: values.collect(),
    }
}

/// Width and height in cells if the longer side has `long`.
fn cells_of(size: (f64, f64), long: f64) -> (usize, usize) {
    let scale = long / size.0.max(size.1);
    let side = |pixels: f64| ((pixels * scale).round() as usize).max(3);
    (side(size.0), side(size.1))
}

/// Finds the whole of the first picture in parts of the second one.
fn propose_parts(planes: &LumaPyramid, others: &LumaPyramid) -> Vec<Proposal> {
    let (size, other_size) = (planes.size(), others.size());
    let (width, height) = cells_of(size, WHOLE_CELLS as f64);
    let cells = planes.largest().averaged(width, height);
    let templates: Vec<Template> = (0..8)
        .map(|orientation| Template::new(oriented_cells(&cells, orientation)))
        .collect();
    let mut proposals = Vec::new();
    for long in PART_CELLS {
        let (other_width, other_height) = cells_of(other_size, long as f64);
        let searched = others.largest().averaged(other_width, other_height);
        for (orientation, template) in (0_u8..).zip(&templates) {
            let Some((column, row, correlation)) = template.find_in(&searched) else {
                continue;
            };
            // Unit coordinates of the window to the first picture, and to the second one.
            let to_first = map_of_unit(|x, y| {
                let (x, y) = orient(orientation, x, y);
                (x * size.0, y * size.1)
            });
            let cell = (
                other_size.0 / searched.width as f64,
                other_size.1 / searched.height as f64,
            );
            let to_second = map_of_unit(|x, y| {
                (
                    (column as f64 + x * template.cells.width as f64) * cell.0,
                    (row as f64 + y * template.cells.height as f64) * cell.1,
                )
            });
            if let Some(inverse) = to_first.inverse() {
                proposals.push(Proposal {
                    map: compose(&inverse, &to_second),
                    correlation,
                });
            }
        }
    }
    proposals
}

/// Finds the middle of the first picture, turned by any angle, in the second one.
fn propose_patches(planes: &LumaPyramid, others: &LumaPyramid) -> Vec<Proposal> {
    let (size, other_size) = (planes.size(), others.size());
    // Pixels of the first picture in a cell.
    let cell = PATCH_SHARE * size.0.min(size.1) / PATCH_CELLS as f64;
    let (width, height) = cells_of(size, size.0.max(size.1) / cell);
    let cells = planes.largest().averaged(width, height);
    let templates: Vec<(AffineMap, Template)> = (0..360)
        .step_by(ANGLE_STEP)
        .flat_map(|angle| [false, true].map(|is_mirrored| (angle as f64, is_mirrored)))
        .filter_map(|(angle, is_mirrored)| {
            let to_first = patch_map(size, cell, angle, is_mirrored);
            Some((to_first.inverse()?, sample_patch(&cells, size, &to_first)?))
        })
        .collect();
    let mut proposals = Vec::new();
    for scale in SCALES {
        let long = other_size.0.max(other_size.1) / (cell * scale);
        if !(PATCH_CELLS as f64..=MAX_SEARCHED_CELLS).contains(&long) {
            continue;
        }
        let (other_width, other_height) = cells_of(other_size, long);
        let searched = others.largest().averaged(other_width, other_height);
        let other_cell = (
            other_size.0 / searched.width as f64,
            other_size.1 / searched.height as f64,
        );
        for (to_patch, template) in &templates {
            let Some((column, row, correlation)) = template.find_in(&searched) else {
                continue;
            };
            let side = PATCH_CELLS as f64;
            let to_second = map_of_unit(|x, y| {
                (
                    (column as f64 + x * side) * other_cell.0,
                    (row as f64 + y * side) * other_cell.1,
                )
            });
            proposals.push(Proposal {
                map: compose(to_patch, &to_second),
                correlation,
            });
        }
    }
    proposals
}

/// Returns the map from unit coordinates of a turned patch to the middle of a picture.
fn patch_map(size: (f64, f64), cell: f64, angle: f64, is_mirrored: bool) -> AffineMap {
    let (sin, cos) = angle.to_radians().sin_cos();
    let side = cell * PATCH_CELLS as f64;
    map_of_unit(|x, y| {
        let (x, y) = ((x - 0.5) * side, (y - 0.5) * side);
        let x = if is_mirrored { -x } else { x };
        (
            size.0 / 2.0 + cos * x - sin * y,
            size.1 / 2.0 + sin * x + cos * y,
        )
    })
}

fn sample_patch(cells: &LumaPlane, size: (f64, f64), to_picture: &AffineMap) -> Option<Template> {
    let scale = (cells.width as f64 / size.0, cells.height as f64 / size.1);
    let mut values = Vec::with_capacity(PATCH_CELLS * PATCH_CELLS);
    for at in 0..PATCH_CELLS * PATCH_CELLS {
        let unit = |number: usize| (number as f64 + 0.5) / PATCH_CELLS as f64;
        let (x, y) = to_picture.apply(unit(at % PATCH_CELLS), unit(at / PATCH_CELLS));
        values.push(cells.sample(x * scale.0, y * scale.1)?[0]);
    }
    Some(Template::new(LumaPlane {
        width: PATCH_CELLS,
        height: PATCH_CELLS,
        values,
    }))
}

/// Cells to be found in another picture.
struct Template {
    /// The sum of the values is 0, that of their squares 1, or all are 0.
    cells: LumaPlane,
}

impl Template {
    fn new(mut cells: LumaPlane) -> Self {
        let count = cells.values.len() as f32;
        let mean = cells.values.iter().sum::<f32>() / count;
        for value in &mut cells.values {
            *value -= mean;
        }
        let squares: f32 = cells.values.iter().map(|value| value * value).sum();
        // Rounding of a picture of one colour is no structure.
        let factor = if squares > 0.01 * count {
            squares.sqrt().recip()
        } else {
            0.0
        };
        for value in &mut cells.values {
            *value *= factor;
        }
        Self { cells }
    }

    /// Returns the column, row and correlation of the place that is most like the template; `None` if none
    /// is like it.
    fn find_in(&self, searched: &LumaPlane) -> Option<(usize, usize, f64)> {
        let columns = (searched.width + 1).checked_sub(self.cells.width)?;
        let rows = (searched.height + 1).checked_sub(self.cells.height)?;
        let mut best: Option<(usize, usize, f64)> = None;
        for row in 0..rows {
            for column in 0..columns {
                let correlation = self.correlate_at(searched, column, row);
                let least = best.map_or(MIN_PROPOSED_CORRELATION, |(.., best)| best);
                if correlation > least {
                    best = Some((column, row, correlation));
                }
            }
        }
        best
    }

    /// Returns the correlation with the cells whose top left one is given. The template must fit.
    fn correlate_at(&self, searched: &LumaPlane, column: usize, row: usize) -> f64 {
        let width = self.cells.width;
        let (mut sum, mut squares, mut products) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (at, cells) in self.cells.values.chunks_exact(width).enumerate() {
            let start = (row + at) * searched.width + column;
            let others = &searched.values[start..start + width];
            for (value, other) in cells.iter().zip(others) {
                sum += other;
                squares += other * other;
                products += value * other;
            }
        }
        let count = self.cells.values.len() as f32;
        let variance = squares - sum * sum / count;
        if variance <= 0.01 * count {
            return 0.0;
        }
        f64::from(products / variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_found_where_it_was_cut_out() {
        let plane = LumaPlane {
            width: 9,
            height: 8,
            values: (0..72).map(|at| ((at * at * 7) % 101) as f32).collect(),
        };
        let cut = LumaPlane {
            width: 3,
            height: 4,
            values: (0..12)
                .map(|at| plane.at(4 + at % 3, 2 + at / 3) * 0.5 + 9.0)
                .collect(),
        };
        let (column, row, correlation) = Template::new(cut).find_in(&plane).unwrap();
        assert_eq!((column, row), (4, 2));
        assert!(correlation > 0.999, "{correlation}");
    }

    #[test]
    fn orientations_move_cells_and_points_alike() {
        let cells = LumaPlane {
            width: 3,
            height: 2,
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        };
        assert_eq!(oriented_cells(&cells, 0), cells);
        assert_eq!(
            oriented_cells(&cells, 1).values,
            [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]
        );
        assert_eq!(
            oriented_cells(&cells, 2).values,
            [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]
        );
        let turned = oriented_cells(&cells, 4);
        assert_eq!((turned.width, turned.height), (2, 3));
        assert_eq!(turned.values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
