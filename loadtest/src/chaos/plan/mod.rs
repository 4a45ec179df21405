//! The plan of a run: operations on the folders and faults, each with its time. It depends only on
//! the arguments, never on what the system does.

pub mod content;
pub mod faults;
pub mod folder_model;
pub mod operations;

use std::time::Duration;

use crate::chaos::plan::faults::{PlannedFault, RoleProcess};
use crate::chaos::plan::folder_model::FolderModel;
use crate::chaos::plan::operations::{Operation, OperationGenerator};
use lookalike_painter::paint::Random;

/// Everything that happens in a run.
#[derive(Debug)]
pub struct ChaosPlan {
    /// Creates the files that exist before anything starts.
    pub initial: Operation,
    /// Operations with their times since the start of the faults.
    pub operations: Vec<(Duration, Operation)>,
    pub faults: Vec<PlannedFault>,
    /// The folders after all operations.
    pub tree: FolderModel,
}

impl ChaosPlan {
    pub fn new(
        seed: u64,
        length: Duration,
        files: usize,
        roles: &[RoleProcess],
        ack_wait: Duration,
    ) -> Self {
        let mut times = Random::new(seed, 4);
        let mut generator = OperationGenerator::new(seed, files);
        let initial = generator.create_burst(files / 2);
        // The second half of the files appears at once, while everything runs.
        let mut operations = vec![(Duration::ZERO, generator.create_burst(files - files / 2))];
        let mut now = Duration::ZERO;
        loop {
            now += Duration::from_millis(u64::from(times.int_between(5, 250)));
            if now >= length {
                break;
            }
            operations.push((now, generator.next_operation()));
        }
        let rest = generator
            .finish_open_work()
            .into_iter()
            .map(|rest| (length, rest));
        operations.extend(rest);
        Self {
            initial,
            operations,
            faults: faults::plan_faults(seed, length, roles, ack_wait),
            tree: generator.tree,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::chaos::plan::content::PaintedPictures;
    use crate::chaos::plan::operations::{BASE_PICTURES, LIBRARIES};
    use crate::chaos::system::folders::{self, DiskOperator};

    fn plan_for_seed(seed: u64) -> ChaosPlan {
        let length = Duration::from_secs(120);
        ChaosPlan::new(seed, length, 200, &RoleProcess::ALL, Duration::from_secs(4))
    }

    #[test]
    fn a_seed_has_one_plan() {
        let (first, again, other) = (plan_for_seed(7), plan_for_seed(7), plan_for_seed(8));
        assert_eq!(first.operations, again.operations);
        assert_eq!(first.faults, again.faults);
        assert_ne!(first.operations, other.operations);
        assert_ne!(first.faults, other.faults);
    }

    #[test]
    fn plans_are_varied_and_end_in_time() {
        let (mut kinds, mut faults) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..12 {
            let plan = plan_for_seed(seed);
            for (_, operation) in &plan.operations {
                kinds.insert(operation.kind);
            }
            for planned in &plan.faults {
                faults.insert(planned.fault.kind_name());
                assert!(planned.from < planned.until);
                assert!(planned.until <= Duration::from_secs(120));
            }
            let files = plan.tree.file_count();
            assert!((100..800).contains(&files), "{files}");
        }
        assert!(kinds.len() >= 25, "{kinds:?}");
        assert!(faults.len() >= 20, "{faults:?}");
    }

    #[test]
    fn the_disk_becomes_what_the_model_says() {
        let pictures = PaintedPictures::paint_bases(1, BASE_PICTURES).unwrap();
        for seed in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            for library in LIBRARIES {
                std::fs::create_dir(dir.path().join(library)).unwrap();
            }
            let plan = plan_for_seed(seed);
            let mut operator = DiskOperator::new(dir.path(), &pictures);
            let all = plan.operations.iter().map(|(_, operation)| operation);
            for operation in std::iter::once(&plan.initial).chain(all) {
                for step in &operation.steps {
                    operator.apply_step(step).unwrap();
                }
            }
            let expected: BTreeMap<String, String> = plan
                .tree
                .files()
                .map(|(path, content)| {
                    let hash = blake3::hash(&pictures.bytes_of(content));
                    (path.to_owned(), hash.to_string())
                })
                .collect();
            assert_eq!(
                folders::hash_files(dir.path()).unwrap(),
                expected,
                "seed {seed}"
            );
        }
    }
}
