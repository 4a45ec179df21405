//! Contents that links connect.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::links::PictureLinks;
use crate::problem::Problem;

/// Contents of a group. Of a larger group, such as the frames of a long film, only parts are listed: a content
/// whose linked contents all have larger hashes, with those of them that are linked to no smaller one. The rest
/// is listed after images of these parts have been removed.
const MAX_GROUP_CONTENTS: usize = 256;
/// Contents whose links are followed at once. Each can have many candidates, which have to be searched for.
const CONTENTS_PER_STEP: usize = 8;

/// Links between contents, found step by step.
pub(super) trait LinkSource {
    /// Looks for the candidates of these contents.
    async fn load(&mut self, hashes: &[String]) -> Result<(), Problem>;
    fn candidates_of(&self, hash: &str) -> Vec<String>;
    fn is_link(&self, hash: &str, other: &str) -> bool;
}

impl LinkSource for PictureLinks<'_> {
    async fn load(&mut self, hashes: &[String]) -> Result<(), Problem> {
        self.find_candidates(hashes).await
    }

    fn candidates_of(&self, hash: &str) -> Vec<String> {
        self.candidates(hash).to_vec()
    }

    fn is_link(&self, hash: &str, other: &str) -> bool {
        self.are_linked(hash, other)
    }
}

/// Returns the contents of the group whose smallest content is `start`, sorted; `None` if `start` is alone or
/// not the smallest.
pub(super) async fn find_group(
    links: &mut impl LinkSource,
    start: &str,
) -> Result<Option<Vec<String>>, Problem> {
    links.load(&[start.to_owned()]).await?;
    let mut members = BTreeSet::from([start.to_owned()]);
    let mut pending = VecDeque::from([start.to_owned()]);
    while !pending.is_empty() {
        let count = pending.len().min(CONTENTS_PER_STEP);
        let step: Vec<String> = pending.drain(..count).collect();
        let linked = linked_contents(links, &step).await?;
        // Neither kind of group starts at a content that is linked to a smaller one.
        let is_first = step[0] == start;
        if is_first && linked.iter().any(|hash| hash.as_str() < start) {
            return Ok(None);
        }
        for hash in linked {
            if members.insert(hash.clone()) {
                pending.push_back(hash);
            }
        }
        if members.len() > MAX_GROUP_CONTENTS {
            return find_star(links, start).await;
        }
    }
    let is_smallest = members.first().is_some_and(|hash| hash == start);
    Ok((is_smallest && members.len() > 1).then(|| members.into_iter().collect()))
}

/// Returns the contents that are linked to any of these.
async fn linked_contents(
    links: &mut impl LinkSource,
    hashes: &[String],
) -> Result<Vec<String>, Problem> {
    let mut seen = HashSet::new();
    let mut candidates: Vec<String> = hashes
        .iter()
        .flat_map(|hash| links.candidates_of(hash))
        .filter(|hash| seen.insert(hash.clone()))
        .collect();
    links.load(&candidates).await?;
    candidates.retain(|candidate| hashes.iter().any(|hash| links.is_link(hash, candidate)));
    Ok(candidates)
}

/// Returns the part of a large group around `start`.
async fn find_star(
    links: &mut impl LinkSource,
    start: &str,
) -> Result<Option<Vec<String>>, Problem> {
    let linked = linked_contents(links, &[start.to_owned()]).await?;
    if linked.iter().any(|hash| hash.as_str() < start) {
        return Ok(None);
    }
    let mut members = vec![start.to_owned()];
    for hash in linked {
        let mut smaller = links.candidates_of(&hash);
        smaller.retain(|other| other.as_str() < start);
        links.load(&smaller).await?;
        if !smaller.iter().any(|other| links.is_link(&hash, other)) {
            members.push(hash);
        }
    }
    members.sort_unstable();
    Ok((members.len() > 1).then_some(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates by number; a link needs both directions.
    struct NumberedLinks(Vec<BTreeSet<usize>>);

    fn name(number: usize) -> String {
        format!("{number:04}")
    }

    fn number(name: &str) -> usize {
        name.parse().unwrap()
    }

    impl LinkSource for NumberedLinks {
        async fn load(&mut self, _hashes: &[String]) -> Result<(), Problem> {
            Ok(())
        }

        fn candidates_of(&self, hash: &str) -> Vec<String> {
            self.0[number(hash)].iter().map(|at| name(*at)).collect()
        }

        fn is_link(&self, hash: &str, other: &str) -> bool {
            let has = |from: &str, to: &str| self.0[number(from)].contains(&number(to));
            has(hash, other) && has(other, hash)
        }
    }

    async fn all_groups(links: &mut NumberedLinks) -> Vec<Vec<usize>> {
        let mut groups = Vec::new();
        for start in 0..links.0.len() {
            if let Some(group) = find_group(links, &name(start)).await.unwrap() {
                groups.push(group.iter().map(|name| number(name)).collect());
            }
        }
        groups
    }

    fn links(count: usize, pairs: &[(usize, usize)]) -> NumberedLinks {
        let mut candidates = vec![BTreeSet::new(); count];
        for (from, to) in pairs {
            candidates[*from].insert(*to);
        }
        NumberedLinks(candidates)
    }

    #[tokio::test]
    async fn what_links_connect_is_one_group_at_its_smallest_content() {
        let pairs = [(1, 5), (5, 1), (5, 2), (2, 5), (0, 3), (3, 0), (0, 4)];
        let mut links = links(6, &pairs);
        // 4 does not find 0.
        assert_eq!(all_groups(&mut links).await, [vec![0, 3], vec![1, 2, 5]]);
    }

    /// Compares with a search through all links, in random graphs with one-sided candidates.
    #[tokio::test]
    async fn every_group_is_found_once() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        for count in [2, 10, 60, 200] {
            let pairs: Vec<(usize, usize)> = (0..count * 2)
                .map(|_| (random(count), random(count)))
                .collect();
            let mut both: Vec<(usize, usize)> = pairs.clone();
            both.extend(pairs.iter().skip(count).map(|(a, b)| (*b, *a)));
            let mut links = links(count, &both);
            let mut root: Vec<usize> = (0..count).collect();
            for _ in 0..count {
                for a in 0..count {
                    for b in links.0[a].clone() {
                        if links.is_link(&name(a), &name(b)) {
                            root[a] = root[a].min(root[b]);
                        }
                    }
                }
            }
            let expected: Vec<Vec<usize>> = (0..count)
                .map(|start| (0..count).filter(|at| root[*at] == start).collect())
                .filter(|group: &Vec<usize>| group.len() > 1)
                .collect();
            assert_eq!(all_groups(&mut links).await, expected);
        }
    }

    #[tokio::test]
    async fn a_large_group_is_divided_without_an_image_in_two_parts() {
        let count = MAX_GROUP_CONTENTS * 2;
        // A chain in which each is linked to the next three.
        let near = |a: usize, b: usize| a != b && a.abs_diff(b) <= 3;
        // A permutation without a pattern.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|at| {
            (*at as u64 + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        let shuffled = |at: usize| order[at];
        let mut pairs = Vec::new();
        for a in 0..count {
            for b in 0..count {
                if near(a, b) {
                    pairs.push((shuffled(a), shuffled(b)));
                }
            }
        }
        let groups = all_groups(&mut links(count, &pairs)).await;
        let mut images: Vec<usize> = groups.concat();
        let total = images.len();
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), total);
        assert!(groups.len() > 10 && total > count / 8, "{total}");
        assert!(groups.iter().all(|group| group.len() > 1));
    }
}
