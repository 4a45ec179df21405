//! The whole of a run as the seed decides it: what is done to the folders and what goes wrong,
//! each with its time. It does not depend on what the system makes of it.

use std::time::Duration;

use super::faults::{self, Planned, Role};
use super::operations::{Operation, Operations};
use super::tree::Tree;
use crate::paint::Random;

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// Files that are there before anything runs.
    pub before: Operation,
    /// What is done to the folders, with the time since the start of the trouble.
    pub operations: Vec<(Duration, Operation)>,
    /// What goes wrong.
    pub faults: Vec<Planned>,
    /// The folders after all operations.
    pub tree: Tree,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(
        seed: u64,
        length: Duration,
        files: usize,
        roles: &[Role],
        ack_wait: Duration,
    ) -> Self {
        let mut times = Random::new(seed, 4);
        let mut drawn = Operations::new(seed, files);
        let before = drawn.burst(files / 2);
        // The rest comes at once, when all runs.
        let mut operations = vec![(Duration::ZERO, drawn.burst(files - files / 2))];
        let mut now = Duration::ZERO;
        loop {
            now += Duration::from_millis(u64::from(times.whole(5, 250)));
            if now >= length {
                break;
            }
            operations.push((now, drawn.one_more()));
        }
        let rest = drawn.finish().into_iter().map(|rest| (length, rest));
        operations.extend(rest);
        Self {
            before,
            operations,
            faults: faults::plan(seed, length, roles, ack_wait),
            tree: drawn.tree,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::content::Pictures;
    use super::super::disk::{self, Hand};
    use super::super::operations::{BASES, LIBRARIES};
    use super::*;

    fn plan(seed: u64) -> Plan {
        let length = Duration::from_secs(120);
        Plan::new(seed, length, 200, &Role::ALL, Duration::from_secs(4))
    }

    #[test]
    fn a_seed_has_one_plan() {
        let (one, again, other) = (plan(7), plan(7), plan(8));
        assert_eq!(one.operations, again.operations);
        assert_eq!(one.faults, again.faults);
        assert_ne!(one.operations, other.operations);
        assert_ne!(one.faults, other.faults);
    }

    #[test]
    fn plans_are_varied_and_end_in_time() {
        let (mut kinds, mut faults) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..12 {
            let plan = plan(seed);
            for (_, operation) in &plan.operations {
                kinds.insert(operation.kind);
            }
            for planned in &plan.faults {
                faults.insert(planned.fault.kind());
                assert!(planned.from < planned.until);
                assert!(planned.until <= Duration::from_secs(120));
            }
            let files = plan.tree.count();
            assert!((100..800).contains(&files), "{files}");
        }
        assert!(kinds.len() >= 25, "{kinds:?}");
        assert!(faults.len() >= 20, "{faults:?}");
    }

    #[test]
    fn the_disk_becomes_what_the_model_says() {
        let pictures = Pictures::paint(1, BASES).unwrap();
        for seed in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            for library in LIBRARIES {
                std::fs::create_dir(dir.path().join(library)).unwrap();
            }
            let plan = plan(seed);
            let mut hand = Hand::new(dir.path(), &pictures);
            let all = plan.operations.iter().map(|(_, operation)| operation);
            for operation in std::iter::once(&plan.before).chain(all) {
                for step in &operation.steps {
                    hand.apply(step).unwrap();
                }
            }
            let wanted: BTreeMap<String, String> = plan
                .tree
                .files()
                .map(|(path, content)| {
                    let hash = blake3::hash(&pictures.bytes(content));
                    (path.to_owned(), hash.to_string())
                })
                .collect();
            assert_eq!(disk::hashes(dir.path()).unwrap(), wanted, "seed {seed}");
        }
    }
}
