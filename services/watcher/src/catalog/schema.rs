//! The tables. A change of the schema raises [`VERSION`] and adds a migration.

/// Schema version of this program, stored as `PRAGMA user_version`.
pub const VERSION: i64 = 4;

/// Returns the statements that bring a file of `version` (0: empty) to [`VERSION`].
pub fn steps_from(version: i64) -> &'static [&'static str] {
    const MIGRATIONS: &[&str] = &[FROM_1, FROM_2, FROM_3];
    match version {
        0 => &[CREATE],
        1 => MIGRATIONS,
        2 => &[FROM_2, FROM_3],
        3 => &[FROM_3],
        _ => &[],
    }
}

/// Creates everything. Paths are the file system's bytes; `dir` is empty for the root itself.
/// Values of `state` are those of `FileState`. Triggers keep the counts, so that these are right
/// within the transaction that changes a row.
const CREATE: &str = "
BEGIN;
CREATE TABLE libraries (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    root_path BLOB,
    root_device INTEGER,
    root_inode INTEGER,
    root_born_ns INTEGER,
    outcomes_created INTEGER,
    outcomes_sequence INTEGER,
    lease_epoch INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE images (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    library INTEGER NOT NULL REFERENCES libraries (key),
    dir BLOB NOT NULL,
    name BLOB NOT NULL,
    is_present INTEGER NOT NULL,
    missing_since_ns INTEGER NOT NULL,
    is_removing INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    born_ns INTEGER NOT NULL,
    state INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    state_since_ns INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    observed_ns INTEGER NOT NULL,
    is_unsent INTEGER NOT NULL,
    send_after_ns INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sent_ns INTEGER NOT NULL,
    stream_created_ns INTEGER NOT NULL,
    stream_sequence INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    content_hash BLOB,
    was_sent INTEGER NOT NULL DEFAULT 1,
    first_seen_ns INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX path ON images (library, dir, name) WHERE is_present = 1;
CREATE INDEX missing_by_path ON images (library, dir, name) WHERE is_present = 0;
CREATE INDEX missing ON images (library, missing_since_ns)
    WHERE is_present = 0 AND is_removing = 0;
CREATE INDEX file ON images (inode, device);
CREATE INDEX hashed ON images (size, is_present) WHERE content_hash IS NOT NULL;
CREATE INDEX new ON images (size, first_seen_ns) WHERE is_present = 1;
CREATE INDEX outbox ON images (generation)
    WHERE is_unsent = 1 AND in_flight = 0 AND retries = 0;
CREATE INDEX delayed ON images (send_after_ns)
    WHERE is_unsent = 1 AND in_flight = 0 AND send_after_ns > 0;
CREATE INDEX sent_events ON images (sent_ns) WHERE in_flight <> 0;
CREATE INDEX not_indexed ON images (library, id) WHERE is_present = 1 AND state >= 2;
CREATE TABLE counts (
    library INTEGER NOT NULL,
    state INTEGER NOT NULL,
    files INTEGER NOT NULL CHECK (files >= 0),
    PRIMARY KEY (library, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER count_in AFTER INSERT ON images WHEN NEW.is_present = 1 BEGIN
    UPDATE counts SET files = files + 1 WHERE library = NEW.library AND state = NEW.state;
END;
CREATE TRIGGER count_out AFTER DELETE ON images WHEN OLD.is_present = 1 BEGIN
    UPDATE counts SET files = files - 1 WHERE library = OLD.library AND state = OLD.state;
END;
CREATE TRIGGER count_over AFTER UPDATE ON images
WHEN OLD.is_present <> NEW.is_present OR OLD.state <> NEW.state OR OLD.library <> NEW.library BEGIN
    UPDATE counts SET files = files - OLD.is_present
        WHERE library = OLD.library AND state = OLD.state;
    UPDATE counts SET files = files + NEW.is_present
        WHERE library = NEW.library AND state = NEW.state;
END;
CREATE TABLE last_outcomes (
    id BLOB PRIMARY KEY,
    outcome BLOB NOT NULL,
    confirmed_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER forget_outcome AFTER DELETE ON images BEGIN
    DELETE FROM last_outcomes WHERE id = OLD.id;
END;
PRAGMA user_version = 4;
COMMIT;
";

/// Migrates from version 3: better names for columns, tables and indexes.
const FROM_3: &str = "
BEGIN;
ALTER TABLE libraries RENAME COLUMN turns TO lease_epoch;
ALTER TABLE images RENAME COLUMN present TO is_present;
ALTER TABLE images RENAME COLUMN removing TO is_removing;
ALTER TABLE images RENAME COLUMN since_ns TO state_since_ns;
ALTER TABLE images RENAME COLUMN unsent TO is_unsent;
ALTER TABLE images RENAME COLUMN not_before_ns TO send_after_ns;
ALTER TABLE images RENAME COLUMN sent_created TO stream_created_ns;
ALTER TABLE images RENAME COLUMN sent_sequence TO stream_sequence;
ALTER TABLE images RENAME COLUMN told TO was_sent;
DROP INDEX gone;
CREATE INDEX missing_by_path ON images (library, dir, name) WHERE is_present = 0;
DROP INDEX vanished;
CREATE INDEX missing ON images (library, missing_since_ns)
    WHERE is_present = 0 AND is_removing = 0;
DROP INDEX under_way;
CREATE INDEX sent_events ON images (sent_ns) WHERE in_flight <> 0;
DROP TRIGGER life_ends;
ALTER TABLE lives RENAME TO last_outcomes;
CREATE TRIGGER forget_outcome AFTER DELETE ON images BEGIN
    DELETE FROM last_outcomes WHERE id = OLD.id;
END;
PRAGMA user_version = 4;
COMMIT;
";

/// Migrates from version 2: the catalog was not lost, so nothing has to be recovered from the
/// index. Earlier outcomes are unknown.
const FROM_2: &str = "
BEGIN;
ALTER TABLE libraries ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
UPDATE libraries SET turns = 1;
DROP INDEX vanished;
CREATE INDEX vanished ON images (library, missing_since_ns) WHERE present = 0 AND removing = 0;
DROP INDEX outbox;
CREATE INDEX outbox ON images (generation) WHERE unsent = 1 AND in_flight = 0 AND retries = 0;
CREATE TABLE lives (
    id BLOB PRIMARY KEY,
    outcome BLOB NOT NULL,
    confirmed_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER life_ends AFTER DELETE ON images BEGIN
    DELETE FROM lives WHERE id = OLD.id;
END;
PRAGMA user_version = 3;
COMMIT;
";

/// Migrates from version 1: every image may be in the index and was seen before all new ones.
const FROM_1: &str = "
BEGIN;
ALTER TABLE libraries ADD COLUMN root_born_ns INTEGER;
ALTER TABLE images ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
ALTER TABLE images ADD COLUMN first_seen_ns INTEGER NOT NULL DEFAULT 0;
DROP INDEX by_size;
CREATE INDEX hashed ON images (size, present) WHERE content_hash IS NOT NULL;
CREATE INDEX new ON images (size, first_seen_ns) WHERE present = 1;
CREATE INDEX delayed ON images (not_before_ns)
    WHERE unsent = 1 AND in_flight = 0 AND not_before_ns > 0;
PRAGMA user_version = 2;
COMMIT;
";
