//! Standing: whether this watcher holds a library, and what it takes over when it does.
//!
//! Only one watcher works on a library at a time (a lease in NATS says which). The others stand
//! by: they look at nothing and say nothing, and begin with a comparison of everything when the
//! lease is theirs. Whoever begins with a catalog that may lack something (a new one, or one that
//! stood by) first asks the index for its rows, so that images keep their ids.

use lookalike_bus::{RowFacts, StreamPosition};
use lookalike_proto::{ContentHash, Generation, RelativePath};

use super::brake::Brake;
use super::observe::split;
use super::{Keeper, Now};
use crate::catalog::{self, State};
use crate::disk::Facts;

type Result<T> = std::result::Result<T, catalog::Error>;

/// What a watcher does with a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not known yet who holds it.
    Undecided,
    /// Another one holds it.
    StandsBy,
    /// It is held, and rows of the index are being taken over.
    Adopts,
    /// It is held.
    Active,
}

impl Keeper {
    /// Whether this watcher works on the library now.
    pub(super) fn is_active(&self, library: usize) -> bool {
        self.libraries[library].standing == Standing::Active
    }

    /// Whether another watcher holds the library, as far as is known.
    pub(super) fn stands_by(&self, library: usize) -> bool {
        self.libraries[library].standing == Standing::StandsBy
    }

    /// The library is held by somebody else.
    pub(super) fn stand_by(&mut self, library: usize, now: Now) {
        let held = &mut self.libraries[library];
        held.brake = Brake::default();
        held.is_compared = false;
        self.set_standing(library, Standing::StandsBy);
        self.recover(library, "adopting");
        self.scans.forget(library);
        self.libraries[library].watching.watches.drop_all();
        let detail = "Another watcher holds this library; this one takes over when that one ends.";
        self.degrade(library, "standby", detail.to_owned(), now);
    }

    /// The library is held by this watcher. How often that was so before, as the catalog counts
    /// it; 0 where nothing was taken over yet.
    pub(super) fn begin_to_hold(&mut self, library: usize) -> Result<u64> {
        self.set_standing(library, Standing::Adopts);
        Ok(self.catalog.root(self.libraries[library].key)?.turns)
    }

    /// Takes rows of the index over: images that the catalog does not know, and generations that
    /// it is behind of. What lies on the disk is compared with them when the library is active.
    pub(super) fn adopt(&mut self, library: usize, rows: &[RowFacts], now: Now) -> Result<()> {
        let key = self.libraries[library].key;
        for facts in rows {
            let (Ok(id), Ok(path)) = (facts.id.parse(), RelativePath::new(facts.path.clone()))
            else {
                continue; // Nothing of ours: the audit tells of it.
            };
            let generation = facts.generation.min(i64::MAX as u64 - 1);
            let generation = Generation::from_u64(generation);
            let known = self.catalog.by_id(&id)?;
            if known
                .as_ref()
                .is_some_and(|row| row.generation >= generation)
            {
                continue;
            }
            // Of two images at one path the newer one lies there. The older one may be found
            // elsewhere by its inode or its bytes.
            let (dir, name) = split(path.as_str().as_bytes());
            match self.catalog.at(key, dir, name)? {
                Some(other) if other.id == id => {}
                Some(other) if other.generation >= generation => continue,
                Some(other) => self.displace(other, now)?,
                None => {}
            }
            let seen = Facts {
                size: facts.bytes,
                mtime_ns: facts.modified_at_ms.saturating_mul(1_000_000),
                ..Facts::default()
            };
            let mut row = self.first_sight(library, path.as_str().as_bytes(), seen, now)?;
            row.id = id;
            row.state = State::Indexed;
            row.generation = generation;
            row.confirmed = generation;
            row.content_hash = facts.content_hash.parse::<ContentHash>().ok();
            row.told = true;
            row.first_seen_ns = known.as_ref().map_or(0, |row| row.first_seen_ns);
            match known {
                Some(_) => self.catalog.update(&row)?,
                None => self.catalog.insert(&row)?,
            }
        }
        Ok(())
    }

    /// The library is held and its catalog is whole: from now on it is watched. Behind which
    /// outcome reading goes on, and how often it has been held by now.
    pub(super) fn activate(
        &mut self,
        library: usize,
        now: Now,
    ) -> Result<(Option<StreamPosition>, u64)> {
        let key = self.libraries[library].key;
        self.catalog.count_turn(key)?;
        self.set_standing(library, Standing::Active);
        let held = &mut self.libraries[library];
        held.scanned_once = false;
        held.is_compared = false;
        held.active_since_ns = now.nanos();
        self.recover(library, "standby");
        self.recover(library, "adopting");
        self.plan_whole_scan(library, "the library is held now", now);
        let root = self.catalog.root(key)?;
        Ok((root.outcomes_read, root.turns))
    }

    fn set_standing(&mut self, library: usize, standing: Standing) {
        self.libraries[library].standing = standing;
        self.keys = self
            .libraries
            .iter()
            .filter(|held| held.standing == Standing::Active)
            .map(|held| held.key)
            .collect();
    }
}
