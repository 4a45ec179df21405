//! One library in the settings: `NAME = "FOLDER"`, or a table with what the API may do.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The table of a library. A string stands for a table with this folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LibraryEntry {
    /// The root folder; empty if only the command line names it.
    pub folder: String,
    /// Whether the API may add pictures.
    pub uploads: bool,
    /// Whether the API may move pictures to the trash.
    pub deletions: bool,
}

/// The keys of the table; serde writes them in its errors.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LibraryTable {
    folder: String,
    uploads: bool,
    deletions: bool,
}

impl<'de> Deserialize<'de> for LibraryEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = LibraryEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a folder, or a table with folder, uploads and deletions")
    }

    fn visit_str<E: serde::de::Error>(self, folder: &str) -> Result<LibraryEntry, E> {
        Ok(LibraryEntry {
            folder: folder.to_owned(),
            ..LibraryEntry::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LibraryEntry, A::Error> {
        let table = LibraryTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LibraryEntry {
            folder: table.folder,
            uploads: table.uploads,
            deletions: table.deletions,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, LibraryEntry>, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_library_is_a_folder_or_a_table() {
        let parsed = parse(
            "home = \"~/Pictures\"\n[shop]\nfolder = \"/shop\"\nuploads = true\n[attic]\n\
             deletions = true",
        );
        let entry = |folder: &str, uploads, deletions| LibraryEntry {
            folder: folder.into(),
            uploads,
            deletions,
        };
        let expected = BTreeMap::from([
            ("home".into(), entry("~/Pictures", false, false)),
            ("shop".into(), entry("/shop", true, false)),
            ("attic".into(), entry("", false, true)),
        ]);
        assert_eq!(parsed, Ok(expected));
        for (text, says) in [
            ("[shop]\nfolde = \"/shop\"", "folde"),
            ("[shop]\nuploads = \"yes\"", "uploads"),
            ("shop = 7", "a folder, or a table"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
