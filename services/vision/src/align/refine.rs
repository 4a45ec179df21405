//! Refines a map by the gradients of the second picture, from coarse to fine.
//!
//! This is the algorithm of Lucas and Kanade with an affine map, additive updates, and a gain and an offset
//! of the brightness (Baker and Matthews, *Lucas-Kanade 20 Years On*, parts 1 and 3, 2004), with the
//! damping of Levenberg and Marquardt. What only one picture shows, such as a caption, has the weights of Huber
//! up to a cutoff.

use super::affine::AffineMap;
use super::plane::LumaPyramid;

/// Parameters: six of the map, gain, offset.
const PARAMETERS: usize = 8;
const MAX_STEPS: usize = 25;
/// A step that moves no corner by this share of the side of a picture ends a level.
const LEAST_MOVE: f64 = 2e-4;
/// Residuals beyond this multiple of the standard deviation, estimated from the median, count less.
const HUBER_LIMIT: f64 = 1.5;
/// Residuals beyond this multiple of the limit do not count.
const CUTOFF: f64 = 3.0;
/// Repetitions of the fit of gain and offset with new weights.
const LIGHT_STEPS: usize = 4;
/// Points of a level are left out until at most this many remain.
const MAX_POINTS: usize = 20_000;
/// Common points below which a map is given up.
const MIN_POINTS: usize = 60;

/// Returns the refined map, or `None` if the pictures cannot be aligned from here. Maps are in pixels of the
/// largest levels.
pub(super) fn refine_map(
    planes: &LumaPyramid,
    others: &LumaPyramid,
    map: AffineMap,
) -> Option<AffineMap> {
    let mut state = AlignedState {
        map,
        gain: 1.0,
        offset: 0.0,
    };
    for level in (0..planes.levels.len()).rev() {
        let (level, other) = matching_levels(planes, others, &state.map, level);
        state = align_level(&LevelView::new(planes, level, others, other), state)?;
        if !is_plausible(planes, others, &state.map) {
            return None;
        }
    }
    Some(state.map)
}

/// Returns the level and the level of the other pyramid in which the same things have about the same size.
pub(super) fn matching_levels(
    planes: &LumaPyramid,
    others: &LumaPyramid,
    map: &AffineMap,
    level: usize,
) -> (usize, usize) {
    let steps = map.determinant().abs().sqrt().log2().round() as isize;
    let last = others.levels.len() as isize - 1;
    let other = level as isize + steps;
    // The finest level of the other one may be coarser than this level.
    let level = level + usize::try_from(-other.min(0)).unwrap_or(0);
    (
        level.min(planes.levels.len() - 1),
        other.clamp(0, last) as usize,
    )
}

/// Whether a map could be that of a copy: no extreme size, no strong distortion, and some common area.
fn is_plausible(planes: &LumaPyramid, others: &LumaPyramid, map: &AffineMap) -> bool {
    let (wide, high) = map.scales();
    let area = map.determinant().abs();
    let (size, other) = (planes.size(), others.size());
    let common = map.common_area(size, other);
    let share = common / (size.0 * size.1);
    let other_share = common * area / (other.0 * other.1);
    [wide, high].iter().all(|scale| (0.1..=10.0).contains(scale))
        && (0.4..=2.5).contains(&(wide / high))
        // The angle between the images of horizontal and vertical lines.
        && area >= 0.8 * wide * high
        && share.max(other_share) >= 0.25
}

#[derive(Debug, Clone, Copy)]
struct AlignedState {
    map: AffineMap,
    gain: f64,
    offset: f64,
}

/// Two levels that are compared.
struct LevelView<'a> {
    planes: &'a LumaPyramid,
    level: usize,
    scale: (f64, f64),
    others: &'a LumaPyramid,
    other: usize,
    other_scale: (f64, f64),
    stride: usize,
}

/// One point that both pictures show.
struct CommonPoint {
    /// In pixels of the largest level.
    x: f64,
    y: f64,
    value: f64,
    other: f64,
    /// Change of the other picture per pixel of its largest level.
    slope: (f64, f64),
}

impl<'a> LevelView<'a> {
    fn new(planes: &'a LumaPyramid, level: usize, others: &'a LumaPyramid, other: usize) -> Self {
        let points = planes.levels[level].values.len();
        Self {
            planes,
            level,
            scale: planes.level_scale(level),
            others,
            other,
            other_scale: others.level_scale(other),
            stride: (points as f64 / MAX_POINTS as f64).sqrt().ceil().max(1.0) as usize,
        }
    }

    fn common_points(&self, map: &AffineMap) -> Vec<CommonPoint> {
        let plane = &self.planes.levels[self.level];
        let other_plane = &self.others.levels[self.other];
        let mut points = Vec::new();
        for row in (0..plane.height).step_by(self.stride) {
            for column in (0..plane.width).step_by(self.stride) {
                let x = (column as f64 + 0.5) / self.scale.0;
                let y = (row as f64 + 0.5) / self.scale.1;
                let (other_x, other_y) = map.apply(x, y);
                let sampled =
                    other_plane.sample(other_x * self.other_scale.0, other_y * self.other_scale.1);
                if let Some([other, right, down]) = sampled {
                    points.push(CommonPoint {
                        x,
                        y,
                        value: f64::from(plane.at(column, row)),
                        other: f64::from(other),
                        slope: (
                            f64::from(right) * self.other_scale.0,
                            f64::from(down) * self.other_scale.1,
                        ),
                    });
                }
            }
        }
        points
    }
}

fn residual(state: &AlignedState, point: &CommonPoint) -> f64 {
    point.other - state.gain * point.value - state.offset
}

/// Returns the limit beyond which residuals count less.
fn huber_limit(state: &AlignedState, points: &[CommonPoint]) -> f64 {
    let mut sizes: Vec<f64> = points
        .iter()
        .map(|point| residual(state, point).abs())
        .collect();
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f64::total_cmp);
    (HUBER_LIMIT * 1.483 * *median).max(1.0)
}

/// Returns the weight of a residual.
fn robust_weight(size: f64, limit: f64) -> f64 {
    if size <= limit {
        1.0
    } else if size <= CUTOFF * limit {
        limit / size
    } else {
        0.0
    }
}

/// Returns the mean of the robust squares.
fn mean_cost(state: &AlignedState, points: &[CommonPoint], limit: f64) -> f64 {
    let costs = points.iter().map(|point| {
        let size = residual(state, point).abs().min(CUTOFF * limit);
        match size <= limit {
            true => size * size,
            false => limit * (2.0 * size - limit),
        }
    });
    costs.sum::<f64>() / points.len() as f64
}

/// Fits gain and offset by least squares with robust weights.
fn fit_light(state: &mut AlignedState, points: &[CommonPoint]) {
    let mut limit = f64::INFINITY;
    for _ in 0..LIGHT_STEPS {
        let (mut count, mut sum, mut other_sum) = (0.0, 0.0, 0.0);
        let (mut squares, mut products) = (0.0, 0.0);
        for point in points {
            let weight = robust_weight(residual(state, point).abs(), limit);
            count += weight;
            sum += weight * point.value;
            other_sum += weight * point.other;
            squares += weight * point.value * point.value;
            products += weight * point.value * point.other;
        }
        if count < 1.0 {
            return;
        }
        let variance = squares - sum * sum / count;
        if variance > 1e-6 * count {
            state.gain = ((products - sum * other_sum / count) / variance).clamp(0.1, 10.0);
        }
        state.offset = (other_sum - state.gain * sum) / count;
        limit = huber_limit(state, points);
    }
}

fn align_level(view: &LevelView<'_>, mut state: AlignedState) -> Option<AlignedState> {
    let (width, height) = view.planes.size();
    let side = width.max(height);
    let (other_width, other_height) = view.others.size();
    let least_move = LEAST_MOVE * other_width.max(other_height);
    let mut points = view.common_points(&state.map);
    if points.len() < MIN_POINTS {
        return None;
    }
    fit_light(&mut state, &points);
    let mut damping = 1e-3;
    for _ in 0..MAX_STEPS {
        let limit = huber_limit(&state, &points);
        let cost = mean_cost(&state, &points, limit);
        let step = solve_step(&state, &points, limit, side, damping)?;
        let next = moved_state(&state, &step, side);
        let next_points = view.common_points(&next.map);
        if next_points.len() < MIN_POINTS {
            return None;
        }
        if mean_cost(&next, &next_points, limit) > cost {
            damping *= 10.0;
            if damping > 1e3 {
                break;
            }
            continue;
        }
        damping = (damping / 10.0).max(1e-7);
        let has_converged = next.map.is_near(&state.map, least_move, side);
        (state, points) = (next, next_points);
        if has_converged {
            break;
        }
    }
    Some(state)
}

/// Solves the normal equations for one step. Coordinates are divided by `side`, so that all parameters
/// have about the same size.
fn solve_step(
    state: &AlignedState,
    points: &[CommonPoint],
    limit: f64,
    side: f64,
    damping: f64,
) -> Option<[f64; PARAMETERS]> {
    let mut matrix = [[0.0; PARAMETERS]; PARAMETERS];
    let mut right = [0.0; PARAMETERS];
    for point in points {
        let error = residual(state, point);
        let weight = robust_weight(error.abs(), limit);
        if weight == 0.0 {
            continue;
        }
        let (x, y) = (point.x / side - 0.5, point.y / side - 0.5);
        let (sx, sy) = (point.slope.0 * side, point.slope.1 * side);
        let row = [sx * x, sx * y, sx, sy * x, sy * y, sy, -point.value, -255.0];
        for (i, factor) in row.iter().enumerate() {
            right[i] -= weight * factor * error;
            for (sum, other) in matrix[i].iter_mut().zip(&row) {
                *sum += weight * factor * other;
            }
        }
    }
    for (i, row) in matrix.iter_mut().enumerate() {
        row[i] += damping * row[i] + 1e-9;
    }
    solve_linear(matrix, right)
}

/// Applies a step of [`solve_step`].
fn moved_state(state: &AlignedState, step: &[f64; PARAMETERS], side: f64) -> AlignedState {
    let [a, b, c, d, e, f] = state.map.matrix;
    // A step is a map of (x / side − ½, y / side − ½), scaled by the side.
    let shift = |across: f64, down: f64, by: f64| (by - 0.5 * (across + down)) * side;
    AlignedState {
        map: AffineMap {
            matrix: [
                a + step[0],
                b + step[1],
                c + shift(step[0], step[1], step[2]),
                d + step[3],
                e + step[4],
                f + shift(step[3], step[4], step[5]),
            ],
        },
        gain: state.gain + step[6],
        offset: state.offset + 255.0 * step[7],
    }
}

/// Solves linear equations by elimination with pivots; `None` if they have no single solution.
fn solve_linear(
    mut matrix: [[f64; PARAMETERS]; PARAMETERS],
    mut right: [f64; PARAMETERS],
) -> Option<[f64; PARAMETERS]> {
    for column in 0..PARAMETERS {
        let pivot = (column..PARAMETERS).max_by(|a, b| {
            matrix[*a][column]
                .abs()
                .total_cmp(&matrix[*b][column].abs())
        })?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let (solved, below) = matrix.split_at_mut(column + 1);
        let (solved_right, below_right) = right.split_at_mut(column + 1);
        let pivot_row = &solved[column];
        if !pivot_row[column].is_finite() || pivot_row[column].abs() < 1e-12 {
            return None;
        }
        for (row, right) in below.iter_mut().zip(below_right) {
            let factor = row[column] / pivot_row[column];
            for (value, above) in row.iter_mut().zip(pivot_row) {
                *value -= factor * above;
            }
            *right -= factor * solved_right[column];
        }
    }
    for row in (0..PARAMETERS).rev() {
        let known: f64 = (row + 1..PARAMETERS)
            .map(|at| matrix[row][at] * right[at])
            .sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_equations_are_solved() {
        let expected: [f64; PARAMETERS] = std::array::from_fn(|at| at as f64 - 3.0);
        let matrix: [[f64; PARAMETERS]; PARAMETERS] = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let diagonal = if row == column { 20.0 } else { 0.0 };
                diagonal + ((row * 5 + column * column * 3) % 11) as f64
            })
        });
        let right = std::array::from_fn(|row| {
            let products = matrix[row].iter().zip(&expected);
            products.map(|(a, b)| a * b).sum()
        });
        let solved = solve_linear(matrix, right).unwrap();
        for (value, expected) in solved.iter().zip(&expected) {
            assert!((value - expected).abs() < 1e-6, "{solved:?}");
        }
        assert_eq!(solve_linear([[1.0; PARAMETERS]; PARAMETERS], right), None);
    }
}
