//! The tables. A change raises [`VERSION`] and comes with a migration.

/// The schema of this version of the program, as `PRAGMA user_version`.
pub const VERSION: i64 = 3;

/// Makes everything. Paths are the file system's bytes; `dir` is empty for the root itself.
/// States are those of `FileState`. The counts are kept by triggers, so that they are right within
/// the very transaction that changes a row.
pub const CREATE: &str = "
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
    turns INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE images (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    library INTEGER NOT NULL REFERENCES libraries (key),
    dir BLOB NOT NULL,
    name BLOB NOT NULL,
    present INTEGER NOT NULL,
    missing_since_ns INTEGER NOT NULL,
    removing INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    born_ns INTEGER NOT NULL,
    state INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    observed_ns INTEGER NOT NULL,
    unsent INTEGER NOT NULL,
    not_before_ns INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sent_ns INTEGER NOT NULL,
    sent_created INTEGER NOT NULL,
    sent_sequence INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    content_hash BLOB,
    told INTEGER NOT NULL DEFAULT 1,
    first_seen_ns INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX path ON images (library, dir, name) WHERE present = 1;
CREATE INDEX gone ON images (library, dir, name) WHERE present = 0;
CREATE INDEX vanished ON images (library, missing_since_ns) WHERE present = 0 AND removing = 0;
CREATE INDEX file ON images (inode, device);
CREATE INDEX hashed ON images (size, present) WHERE content_hash IS NOT NULL;
CREATE INDEX new ON images (size, first_seen_ns) WHERE present = 1;
CREATE INDEX outbox ON images (generation) WHERE unsent = 1 AND in_flight = 0 AND retries = 0;
CREATE INDEX delayed ON images (not_before_ns)
    WHERE unsent = 1 AND in_flight = 0 AND not_before_ns > 0;
CREATE INDEX under_way ON images (sent_ns) WHERE in_flight <> 0;
CREATE INDEX not_indexed ON images (library, id) WHERE present = 1 AND state >= 2;
CREATE TABLE counts (
    library INTEGER NOT NULL,
    state INTEGER NOT NULL,
    files INTEGER NOT NULL CHECK (files >= 0),
    PRIMARY KEY (library, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER count_in AFTER INSERT ON images WHEN NEW.present = 1 BEGIN
    UPDATE counts SET files = files + 1 WHERE library = NEW.library AND state = NEW.state;
END;
CREATE TRIGGER count_out AFTER DELETE ON images WHEN OLD.present = 1 BEGIN
    UPDATE counts SET files = files - 1 WHERE library = OLD.library AND state = OLD.state;
END;
CREATE TRIGGER count_over AFTER UPDATE ON images
WHEN OLD.present <> NEW.present OR OLD.state <> NEW.state OR OLD.library <> NEW.library BEGIN
    UPDATE counts SET files = files - OLD.present WHERE library = OLD.library AND state = OLD.state;
    UPDATE counts SET files = files + NEW.present WHERE library = NEW.library AND state = NEW.state;
END;
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

/// From version 2: what is in the catalog was not lost, so nothing is to be taken over from the
/// index; what was answered before is not known any more.
pub const FROM_2: &str = "
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

/// From version 1: every image may be known to the index, and was seen before all new ones.
pub const FROM_1: &str = "
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
