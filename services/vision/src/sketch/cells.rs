//! Mean colours of the cells of a picture that is divided into `N` × `N` cells of equal size, and of strips
//! across it.

use crate::decode::decoded::DecodedImage;

/// Returns the mean red, green and blue of each cell, row by row. Pixels on the edge of a cell count
/// by their share, so that the means do not depend on the resolution.
pub(super) fn average_cells<const N: usize>(image: &DecodedImage) -> Vec<[f64; 3]> {
    let (width, height) = (image.width as usize, image.height as usize);
    let edges = |side: usize| (0..=N).map(move |cell| cell as f64 * side as f64 / N as f64);
    let columns: Vec<f64> = edges(width).collect();
    let rows: Vec<f64> = edges(height).collect();
    let mut cells = Vec::with_capacity(N * N);
    for row in rows.windows(2) {
        let mut sums = vec![[0.0; 3]; N];
        let (top, bottom) = (row[0] as usize, (row[1].ceil() as usize).min(height));
        for y in top..bottom {
            let share = (row[1].min((y + 1) as f64) - row[0].max(y as f64)).max(0.0);
            let pixels = &image.rgb[y * width * 3..(y + 1) * width * 3];
            for (sum, column) in sums.iter_mut().zip(columns.windows(2)) {
                let of_row = sum_pixels(pixels, column[0], column[1], width);
                for (sum, value) in sum.iter_mut().zip(of_row) {
                    *sum += share * value;
                }
            }
        }
        let area = (width * height) as f64 / (N * N) as f64;
        cells.extend(sums.into_iter().map(|sum| sum.map(|value| value / area)));
    }
    cells
}

/// Sums the pixels of a row from `left` to `right`, in pixels; the outer two count by their share.
fn sum_pixels(row: &[u8], left: f64, right: f64, width: usize) -> [f64; 3] {
    let pixel = |x: usize| [0, 1, 2].map(|channel| f64::from(row[x * 3 + channel]));
    let first = (left as usize).min(width - 1);
    let last = (right.ceil() as usize).clamp(first + 1, width) - 1;
    if first == last {
        return pixel(first).map(|value| value * (right - left));
    }
    let mut inner = [0_u64; 3];
    for rgb in row[(first + 1) * 3..last * 3].chunks_exact(3) {
        for (sum, value) in inner.iter_mut().zip(rgb) {
            *sum += u64::from(*value);
        }
    }
    let (head, tail) = ((first + 1) as f64 - left, right - last as f64);
    let (first, last) = (pixel(first), pixel(last));
    std::array::from_fn(|channel| {
        inner[channel] as f64 + head * first[channel] + tail * last[channel]
    })
}

/// Mean red, green and blue of strips of equal size.
pub(super) struct LineColors {
    /// From top to bottom.
    pub rows: Vec<[f64; 3]>,
    /// From left to right.
    pub columns: Vec<[f64; 3]>,
}

/// Returns the means of `N` strips in each direction.
pub(super) fn average_lines<const N: usize>(image: &DecodedImage) -> LineColors {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut column_sums = vec![0_u64; width * 3];
    let mut rows = Vec::with_capacity(height);
    for row in image.rgb.chunks_exact(width * 3) {
        for (sum, value) in column_sums.iter_mut().zip(row) {
            *sum += u64::from(*value);
        }
        let mut sums = [0_u64; 3];
        for rgb in row.chunks_exact(3) {
            for (sum, value) in sums.iter_mut().zip(rgb) {
                *sum += u64::from(*value);
            }
        }
        rows.push(sums.map(|sum| sum as f64 / width as f64));
    }
    let columns: Vec<[f64; 3]> = column_sums
        .chunks_exact(3)
        .map(|sums| [0, 1, 2].map(|channel| sums[channel] as f64 / height as f64))
        .collect();
    LineColors {
        rows: average_strips::<N>(&rows),
        columns: average_strips::<N>(&columns),
    }
}

fn average_strips<const N: usize>(lines: &[[f64; 3]]) -> Vec<[f64; 3]> {
    let width = lines.len() as f64 / N as f64;
    let strip = |number: usize| {
        let (from, to) = (number as f64 * width, (number + 1) as f64 * width);
        let last = (to.ceil() as usize).min(lines.len());
        let mut sums = [0.0; 3];
        for (position, line) in lines.iter().enumerate().take(last).skip(from as usize) {
            let share = to.min((position + 1) as f64) - from.max(position as f64);
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += share.max(0.0) * value;
            }
        }
        sums.map(|sum| sum / width)
    };
    (0..N).map(strip).collect()
}
