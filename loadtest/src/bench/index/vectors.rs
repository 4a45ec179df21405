//! Clustered unit vectors, and their exact nearest neighbours.

use lookalike_painter::paint::Random;

/// Number of rows per cluster, on average: pictures of one kind.
const ROWS_PER_CLUSTER: usize = 100;

/// Number of neighbours of a query.
pub const NEIGHBOURS: usize = 10;

/// Length of the difference between a row and the centre of its cluster, which has length 1. With this
/// spread, neighbours have cosines of about 0.6 to 0.8, as pictures of one kind have.
const SPREAD: f32 = 0.7;

/// Makes vectors for a seed. Row 7 is the same however many rows there are.
#[derive(Debug, Clone)]
pub struct SyntheticVectors {
    dimension: usize,
    clusters: usize,
    seed: u64,
}

impl SyntheticVectors {
    pub fn new(dimension: usize, rows: usize, seed: u64) -> Self {
        Self {
            dimension,
            clusters: rows.div_ceil(ROWS_PER_CLUSTER).max(1),
            seed,
        }
    }

    /// Returns the vector of a row.
    pub fn row(&self, number: usize) -> Vec<f32> {
        self.draw_vector(&mut Random::new(self.seed, 2 * number as u64))
    }

    /// Returns the vector of a query: it is near a cluster, but no row.
    pub fn query(&self, number: usize) -> Vec<f32> {
        self.draw_vector(&mut Random::new(self.seed, 2 * number as u64 + 1))
    }

    fn draw_vector(&self, random: &mut Random) -> Vec<f32> {
        let cluster = random.next_u64() % self.clusters as u64;
        let mut centre = Random::new(self.seed ^ 0xc1a5, cluster);
        let centre = draw_direction(&mut centre, self.dimension);
        let offset = draw_direction(random, self.dimension);
        let mut vector: Vec<f32> = centre
            .iter()
            .zip(&offset)
            .map(|(centre, offset)| centre + SPREAD * offset)
            .collect();
        normalise(&mut vector);
        vector
    }
}

/// Draws a unit vector. The sum of three uniform numbers is close to a normal distribution, so all
/// directions are about equally likely.
fn draw_direction(random: &mut Random, dimension: usize) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..dimension)
        .map(|_| random.next_fraction() + random.next_fraction() + random.next_fraction() - 1.5)
        .collect();
    normalise(&mut vector);
    vector
}

fn normalise(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    for x in vector {
        *x /= length;
    }
}

/// Finds the exact neighbours of some queries while rows pass by.
#[derive(Debug)]
pub struct ExactSearch {
    queries: Vec<Vec<f32>>,
    /// The best rows of every query, best first: cosine and row number.
    best: Vec<Vec<(f32, u32)>>,
}

impl ExactSearch {
    pub fn new(queries: Vec<Vec<f32>>) -> Self {
        let best = vec![Vec::with_capacity(NEIGHBOURS + 1); queries.len()];
        Self { queries, best }
    }

    pub fn queries(&self) -> &[Vec<f32>] {
        &self.queries
    }

    /// Compares rows with every query, on all cores.
    pub fn add_rows(&mut self, first: usize, rows: &[Vec<f32>]) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = self.queries.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (queries, best) in self.queries.chunks(share).zip(self.best.chunks_mut(share)) {
                scope.spawn(move || {
                    for (query, best) in queries.iter().zip(best) {
                        for (number, row) in (first..).zip(rows) {
                            insert_candidate(best, cosine_of(query, row), number as u32);
                        }
                    }
                });
            }
        });
    }

    /// Returns the row numbers of every query's neighbours, nearest first.
    pub fn neighbours(&self) -> Vec<Vec<u32>> {
        let numbers = |best: &Vec<(f32, u32)>| best.iter().map(|(_, number)| *number).collect();
        self.best.iter().map(numbers).collect()
    }
}

fn insert_candidate(best: &mut Vec<(f32, u32)>, cosine: f32, number: u32) {
    if best.len() == NEIGHBOURS && best[NEIGHBOURS - 1].0 >= cosine {
        return;
    }
    let place = best.partition_point(|(other, _)| *other >= cosine);
    best.insert(place, (cosine, number));
    best.truncate(NEIGHBOURS);
}

/// Returns the dot product of two unit vectors. Eight sums let the compiler use vector registers.
fn cosine_of(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Returns the share of exact neighbours that were found.
pub fn recall_of(found: &[Vec<u32>], exact: &[Vec<u32>]) -> f64 {
    let total: usize = exact.iter().map(Vec::len).sum();
    let right = found.iter().zip(exact).map(|(found, exact)| {
        let is_right = |number: &&u32| found.contains(number);
        exact.iter().filter(is_right).count()
    });
    right.sum::<usize>() as f64 / total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_unit_length_and_clusters() {
        let source = SyntheticVectors::new(37, 1000, 1);
        let rows: Vec<_> = (0..1000).map(|number| source.row(number)).collect();
        for row in &rows {
            assert!((cosine_of(row, row) - 1.0).abs() < 1e-4);
        }
        assert_eq!(rows[3], SyntheticVectors::new(37, 1000, 1).row(3));
        assert_ne!(rows[3], source.query(3));
        let cosines: Vec<f32> = rows[1..]
            .iter()
            .map(|row| cosine_of(&rows[0], row))
            .collect();
        let near = cosines.iter().filter(|cosine| **cosine > 0.45).count();
        assert!(
            (50..200).contains(&near),
            "{near} rows in the cluster of row 0"
        );
    }

    #[test]
    fn exact_neighbours_are_the_nearest() {
        let source = SyntheticVectors::new(19, 500, 2);
        let rows: Vec<_> = (0..500).map(|number| source.row(number)).collect();
        let queries: Vec<_> = (0..5).map(|number| source.query(number)).collect();
        let mut search = ExactSearch::new(queries.clone());
        for (part, rows) in rows.chunks(170).enumerate() {
            search.add_rows(part * 170, rows);
        }
        for (query, neighbours) in queries.iter().zip(search.neighbours()) {
            let mut order: Vec<u32> = (0..500).collect();
            let plain = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            order.sort_by(|a, b| {
                plain(query, &rows[*b as usize]).total_cmp(&plain(query, &rows[*a as usize]))
            });
            assert_eq!(neighbours, order[..NEIGHBOURS]);
        }
    }

    #[test]
    fn recall_counts_neighbours_in_any_order() {
        let exact = vec![vec![1, 2], vec![3, 4]];
        assert_eq!(recall_of(&[vec![2, 1], vec![3, 9]], &exact), 0.75);
        assert_eq!(recall_of(&[vec![], vec![]], &exact), 0.0);
    }
}
