//! Checks the answers of searches.

use serde_json::Value;

/// Scores of equal vectors may differ by this much, because they are computed in another order.
const SCORE_TOLERANCE: f64 = 5e-4;

/// What must hold for an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerRules<'a> {
    /// Most hits.
    pub limit: usize,
    /// Hash of an indexed content, which must be the best hit.
    pub first_content_hash: Option<&'a str>,
    /// Id that must not be among the hits.
    pub excluded_id: Option<&'a str>,
}

impl AnswerRules<'_> {
    /// Returns what is wrong with an answer.
    pub fn check_answer(&self, answer: &Value) -> Result<(), String> {
        let hits = answer["hits"].as_array().ok_or("it has no list of hits")?;
        if hits.len() > self.limit {
            return Err(format!("{} hits instead of {}", hits.len(), self.limit));
        }
        let mut scores = Vec::with_capacity(hits.len());
        for hit in hits {
            let score = hit["score"].as_f64().ok_or("a hit has no score")?;
            // Copies come first, each kind by falling score.
            let rank = match hit["band"].as_str() {
                Some("same_picture") => 3,
                Some("turned_copy") => 2,
                Some("near_duplicate") => 1,
                _ => 0,
            };
            scores.push((rank, score));
        }
        if let Some(pair) = scores.windows(2).find(|pair| pair[0] < pair[1]) {
            return Err(format!(
                "a hit with {} is before one with {}",
                pair[0].1, pair[1].1
            ));
        }
        if let Some(excluded) = self.excluded_id
            && hits.iter().any(|hit| hit["id"] == excluded)
        {
            return Err(format!("the picture {excluded} is its own neighbour"));
        }
        if let Some(hash) = self.first_content_hash {
            let (first_rank, best) = scores.first().ok_or("an indexed picture has no hit")?;
            // Pictures that look the same may have the same score, also more of them than there are hits.
            let is_full_of_copies = hits.len() == self.limit
                && scores
                    .iter()
                    .all(|(rank, score)| rank == first_rank && *score >= best - SCORE_TOLERANCE);
            if is_full_of_copies {
                return Ok(());
            }
            let mut best_hits = hits
                .iter()
                .zip(&scores)
                .filter(|(_, (_, score))| *score >= best - SCORE_TOLERANCE);
            if !best_hits.any(|(hit, _)| hit["content_hash"] == hash) {
                return Err(format!(
                    "an indexed picture is not the first hit; first is {} with {best}",
                    hits[0]["path"]
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ANY: AnswerRules<'_> = AnswerRules {
        limit: 3,
        first_content_hash: None,
        excluded_id: None,
    };

    fn hit(id: &str, score: f64) -> Value {
        json!({"id": id, "score": score, "content_hash": format!("hash of {id}"), "path": id})
    }

    #[test]
    fn sorted_hits_are_right() {
        ANY.check_answer(&json!({"hits": []})).unwrap();
        ANY.check_answer(&json!({"hits": [hit("a", 0.9), hit("b", 0.9), hit("c", 0.1)]}))
            .unwrap();
        let mut same = hit("a", 0.8);
        same["band"] = json!("same_picture");
        ANY.check_answer(&json!({"hits": [same, hit("b", 0.9)]}))
            .unwrap();
        let found_itself = AnswerRules {
            first_content_hash: Some("hash of b"),
            ..ANY
        };
        let same_score = json!({"hits": [hit("a", 1.0), hit("b", 0.9999), hit("c", 0.1)]});
        found_itself.check_answer(&same_score).unwrap();
        let full = json!({"hits": [hit("a", 1.0), hit("c", 1.0), hit("d", 1.0)]});
        found_itself.check_answer(&full).unwrap();
        let not_full = json!({"hits": [hit("a", 1.0), hit("c", 1.0)]});
        found_itself.check_answer(&not_full).unwrap_err();
    }

    #[test]
    fn wrong_answers_are_explained() {
        let refused = |rules: AnswerRules<'_>, answer: Value, word: &str| {
            let problem = rules.check_answer(&answer).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        };
        refused(ANY, json!({"detail": "x"}), "no list of hits");
        refused(
            ANY,
            json!({"hits": [hit("a", 0.1), hit("b", 0.2)]}),
            "before one",
        );
        refused(ANY, json!({"hits": [{"id": "a"}]}), "no score");
        let four = ["a", "b", "c", "d"].map(|id| hit(id, 0.5));
        refused(ANY, json!({"hits": four}), "4 hits");
        let rules = AnswerRules {
            first_content_hash: Some("hash of b"),
            excluded_id: Some("x"),
            ..ANY
        };
        refused(
            rules,
            json!({"hits": [hit("a", 0.9), hit("b", 0.8)]}),
            "not the first hit",
        );
        refused(rules, json!({"hits": []}), "has no hit");
        refused(
            rules,
            json!({"hits": [hit("b", 0.9), hit("x", 0.8)]}),
            "own neighbour",
        );
    }
}
