//! Precision at k and average precision of one ranking.

/// Returns the share of the first `k` neighbours that belong to the query's class, which has `others` more
/// pictures. If these are fewer than `k`, it is the share of them that is found; if there are none, `None`.
/// `right` contains for each neighbour, nearest first, whether it belongs to the class.
pub fn precision_at(right: &[bool], k: usize, others: usize) -> Option<f64> {
    let found = right.iter().take(k).filter(|right| **right).count();
    (others > 0).then(|| found as f64 / k.min(others) as f64)
}

/// Returns the mean, over the others of the class, of the precision at the rank where each is found. It is
/// 0 for those beyond the first `depth`. Returns `None` if there are no others.
pub fn average_precision(right: &[bool], depth: usize, others: usize) -> Option<f64> {
    let ranks = right.iter().take(depth).enumerate();
    let found = ranks.filter(|(_, right)| **right).map(|(rank, _)| rank + 1);
    let sum: f64 = found
        .zip(1..)
        .map(|(rank, found)| f64::from(found) / rank as f64)
        .sum();
    // At most `depth` can be found.
    (others > 0).then(|| sum / others.min(depth) as f64)
}

/// Returns the mean, 0 for no values.
pub fn mean_of(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_ranking(marks: &str) -> Vec<bool> {
        marks.chars().map(|mark| mark == '+').collect()
    }

    #[test]
    fn precision_is_the_share_of_the_first() {
        assert_eq!(
            precision_at(&parse_ranking("++-+-+++++"), 10, 17),
            Some(0.8)
        );
        assert_eq!(precision_at(&parse_ranking("++-+-"), 2, 17), Some(1.0));
        assert_eq!(precision_at(&parse_ranking("----+"), 4, 17), Some(0.0));
    }

    #[test]
    fn in_a_small_class_the_share_is_of_those_that_there_are() {
        assert_eq!(
            precision_at(&parse_ranking("++-+------"), 10, 4),
            Some(0.75)
        );
        assert_eq!(precision_at(&parse_ranking("----------"), 10, 0), None);
    }

    #[test]
    fn what_was_not_answered_counts_as_wrong() {
        assert_eq!(precision_at(&parse_ranking("++"), 10, 20), Some(0.2));
    }

    #[test]
    fn average_precision_by_hand() {
        assert_eq!(average_precision(&parse_ranking("+++--"), 5, 3), Some(1.0));
        // Found at ranks 1, 3 and 6: precision 1, 2/3 and 3/6.
        let expected = (1.0 + 2.0 / 3.0 + 0.5) / 3.0;
        assert_eq!(
            average_precision(&parse_ranking("+-+--+"), 6, 3),
            Some(expected)
        );
        assert_eq!(average_precision(&parse_ranking("---+"), 4, 1), Some(0.25));
        assert_eq!(average_precision(&parse_ranking("----"), 4, 0), None);
    }

    #[test]
    fn what_lies_too_deep_counts_as_never_found() {
        // Two of four are found, at ranks 1 and 2.
        assert_eq!(average_precision(&parse_ranking("++---"), 5, 4), Some(0.5));
        // Ranks beyond the depth are ignored, and at most `depth` pictures are expected.
        assert_eq!(average_precision(&parse_ranking("++++"), 2, 4), Some(1.0));
    }

    #[test]
    fn the_mean_of_nothing_is_nothing() {
        assert_eq!(mean_of([]), 0.0);
        assert_eq!(mean_of([1.0, 0.0]), 0.5);
    }
}
