//! Two models on the user's own pictures: of how many nearest neighbours of a picture do they
//! agree?

use std::collections::HashSet;

use futures_util::StreamExt as _;
use lookalike_index::{Consistency, Error, Filter, Hit, Image, Index, SearchQuery};
use serde_json::{Value, json};

/// Neighbours of each picture.
const NEAREST: usize = 10;

/// Searches at once.
const SEARCHES_AT_ONCE: usize = 4;

/// A picture that both were asked about.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub image: Image,
    /// Its nearest neighbours before and after, nearest first, without itself.
    pub near: [Vec<Hit>; 2],
}

impl Query {
    /// Neighbours that both have.
    pub(super) fn common(&self) -> HashSet<&str> {
        let [before, after] = &self.near;
        let before: HashSet<&str> = before.iter().map(|hit| &*hit.image.id).collect();
        let after = after.iter().map(|hit| &*hit.image.id);
        after.filter(|id| before.contains(id)).collect()
    }

    fn of(&self) -> usize {
        self.near[0].len().max(self.near[1].len())
    }

    pub(super) fn share(&self) -> f64 {
        self.common().len() as f64 / self.of().max(1) as f64
    }

    fn same_first(&self) -> bool {
        let first = |near: &[Hit]| near.first().map(|hit| hit.image.id.clone());
        first(&self.near[0]) == first(&self.near[1])
    }
}

/// All pictures that both were asked about, those first in which they differ most.
#[derive(Debug, Clone, Default)]
pub(super) struct Compared {
    pub queries: Vec<Query>,
}

impl Compared {
    /// The share of common neighbours.
    pub(super) fn shared(&self) -> f64 {
        let common: usize = self.queries.iter().map(|query| query.common().len()).sum();
        let of: usize = self.queries.iter().map(Query::of).sum();
        common as f64 / of.max(1) as f64
    }

    /// The share of pictures with the same first neighbour.
    fn same_first(&self) -> f64 {
        let same = self.queries.iter().filter(|query| query.same_first());
        same.count() as f64 / self.queries.len().max(1) as f64
    }

    pub(super) fn lines(&self) -> Vec<String> {
        if self.queries.is_empty() {
            return vec!["there are no two pictures that could be compared".to_owned()];
        }
        vec![format!(
            "of the {NEAREST} nearest neighbours of {} pictures, {:.0} % are the same; the very \
             first is the same for {:.0} %",
            self.queries.len(),
            self.shared() * 100.0,
            self.same_first() * 100.0
        )]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "pictures": self.queries.len(),
            "neighbours": NEAREST,
            "shared": self.shared(),
            "same_first": self.same_first(),
        })
    }
}

/// Asks both for the neighbours of these images.
///
/// # Errors
/// As the server says.
pub(super) async fn compare(
    before: &Index,
    after: &Index,
    ids: &[String],
) -> Result<Compared, Error> {
    let asked = ids.iter().map(|id| query(before, after, id));
    let mut asked = futures_util::stream::iter(asked).buffered(SEARCHES_AT_ONCE);
    let mut queries = Vec::new();
    while let Some(query) = asked.next().await {
        queries.extend(query?.filter(|query| query.of() > 0));
    }
    queries.sort_by(|a, b| a.share().total_cmp(&b.share()));
    Ok(Compared { queries })
}

/// `None` where it is gone by now.
async fn query(before: &Index, after: &Index, id: &str) -> Result<Option<Query>, Error> {
    let ids = [id.to_owned()];
    let images = before.get(&ids, Consistency::Bounded).await?;
    let Some(image) = images.into_iter().next() else {
        return Ok(None);
    };
    let (near_before, near_after) = tokio::try_join!(near(before, id), near(after, id))?;
    Ok(near_before.zip(near_after).map(|(before, after)| Query {
        image,
        near: [before, after],
    }))
}

async fn near(index: &Index, id: &str) -> Result<Option<Vec<Hit>>, Error> {
    let Some(vector) = index.vector_of(id, Consistency::Bounded).await? else {
        return Ok(None);
    };
    let query = SearchQuery {
        limit: NEAREST,
        filter: Filter::NotId(vec![id.to_owned()]),
        ..SearchQuery::default()
    };
    index.search(&vector, &query).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_counted() {
        let hits = |ids: &str| -> Vec<Hit> {
            let ids = ids.chars().map(String::from);
            ids.map(|id| Hit {
                image: Image {
                    id,
                    ..Image::default()
                },
                score: 0.5,
            })
            .collect()
        };
        let query = |before: &str, after: &str| Query {
            image: Image::default(),
            near: [hits(before), hits(after)],
        };
        let compared = Compared {
            queries: vec![query("abcd", "bdxy"), query("ab", "ab")],
        };
        assert!((compared.queries[0].share() - 0.5).abs() < 1e-9);
        assert!((compared.shared() - 4.0 / 6.0).abs() < 1e-9);
        assert!((compared.same_first() - 0.5).abs() < 1e-9);
        assert!(
            compared.lines()[0].contains("67 %"),
            "{:?}",
            compared.lines()
        );
        assert!(Compared::default().lines()[0].contains("no two"));
    }
}
