//! The file of all keys.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lookalike_chassis::durable::replace_secret_file;
use lookalike_proto::{ContentHash, LibraryName};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use super::Scope;

/// More keys are refused: every request may compare with each, and a person cannot keep track of more.
const MAX_KEYS: usize = 1000;
const MAX_NAME_CHARS: usize = 100;
const SECRET_BYTES: usize = 32;
const KEY_PREFIX: &str = "lk_";

/// A key as the file stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// Eight hexadecimal digits.
    pub id: String,
    /// What the key is for, in the words of the person who created it.
    pub name: String,
    pub scopes: Vec<Scope>,
    /// The only libraries that the key permits to see, sorted; `None`: all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "library_names"
    )]
    pub libraries: Option<Vec<LibraryName>>,
    /// BLAKE3 of the whole key, 64 hexadecimal digits.
    pub hash: String,
    /// RFC 3339, UTC.
    pub created_at: String,
}

impl StoredKey {
    /// Whether the key may do what needs `scope`.
    pub(crate) fn permits(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own.includes(scope))
    }

    /// Compares in constant time.
    fn matches(&self, key: &str) -> bool {
        let given = hash_key(key);
        let pairs = given.bytes().zip(self.hash.bytes());
        let difference = pairs.fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0 && given.len() == self.hash.len()
    }
}

/// A key right after its creation: the only time that its secret is known.
#[derive(Debug)]
pub struct NewKey {
    /// The whole key, for the client.
    pub key: String,
    pub stored: StoredKey,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read the key file {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the key file {path} is damaged: {source}; restore it, or delete it and create new keys"
    )]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write the key file {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("a key needs a name of 1 to {MAX_NAME_CHARS} characters, without control characters")]
    InvalidName,
    #[error("a key needs at least one scope: search, ingest or admin")]
    NoScope,
    #[error("there are {MAX_KEYS} keys already; revoke one first")]
    TooMany,
    #[error("no key has the id or name {0:?}; `lookalike keys list` shows all keys")]
    Unknown(String),
    #[error("several keys have the name {0:?}; revoke one by its id")]
    Ambiguous(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<StoredKey>,
}

/// The keys of an installation. Only the owner of the file may read it.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    contents: Contents,
}

impl KeyFile {
    /// The name of the file in the data folder.
    pub const FILE_NAME: &'static str = "keys.json";

    /// Reads the file. A missing file has no keys.
    ///
    /// # Errors
    /// If the file cannot be read or parsed.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let path = path.to_owned();
        let contents = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(contents) => contents,
                Err(source) => return Err(KeyFileError::Parse { path, source }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Contents::default(),
            Err(source) => return Err(KeyFileError::Read { path, source }),
        };
        Ok(Self { path, contents })
    }

    pub fn keys(&self) -> &[StoredKey] {
        &self.contents.keys
    }

    /// Finds the key that a client sent.
    pub(crate) fn find(&self, key: &str) -> Option<&StoredKey> {
        let id = key.strip_prefix(KEY_PREFIX)?.split('_').next()?;
        let stored = self.contents.keys.iter().find(|stored| stored.id == id)?;
        stored.matches(key).then_some(stored)
    }

    /// Creates a key and writes the file. Without `libraries`, the key permits to see all of them.
    ///
    /// # Errors
    /// If the name or the scopes are unusable, or the file cannot be written.
    pub fn add(
        &mut self,
        name: &str,
        scopes: &[Scope],
        libraries: &[LibraryName],
    ) -> Result<NewKey, KeyFileError> {
        let name = name.trim();
        if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.contains(char::is_control)
        {
            return Err(KeyFileError::InvalidName);
        }
        if scopes.is_empty() {
            return Err(KeyFileError::NoScope);
        }
        if self.contents.keys.len() >= MAX_KEYS {
            return Err(KeyFileError::TooMany);
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let mut libraries = libraries.to_vec();
        libraries.sort_unstable();
        libraries.dedup();
        let id = self.unused_id();
        let mut secret = [0; SECRET_BYTES];
        rand::rngs::OsRng.fill_bytes(&mut secret);
        let key = format!("{KEY_PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let stored = StoredKey {
            id,
            name: name.to_owned(),
            scopes,
            libraries: (!libraries.is_empty()).then_some(libraries),
            hash: hash_key(&key),
            created_at: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
        };
        self.contents.keys.push(stored.clone());
        self.write()?;
        Ok(NewKey { key, stored })
    }

    /// Removes the key with this id or name and writes the file.
    ///
    /// # Errors
    /// If no key or several keys match, or the file cannot be written.
    pub fn revoke(&mut self, id_or_name: &str) -> Result<StoredKey, KeyFileError> {
        let keys = &self.contents.keys;
        let by_id = keys.iter().position(|stored| stored.id == id_or_name);
        let mut by_name = (0..keys.len()).filter(|&at| keys[at].name == id_or_name);
        let at = match (by_id, by_name.next(), by_name.next()) {
            (Some(at), _, _) | (None, Some(at), None) => at,
            (None, Some(_), Some(_)) => return Err(KeyFileError::Ambiguous(id_or_name.to_owned())),
            (None, None, _) => return Err(KeyFileError::Unknown(id_or_name.to_owned())),
        };
        let revoked = self.contents.keys.remove(at);
        self.write()?;
        Ok(revoked)
    }

    fn unused_id(&self) -> String {
        loop {
            let id = format!("{:08x}", rand::random::<u32>());
            if self.contents.keys.iter().all(|stored| stored.id != id) {
                return id;
            }
        }
    }

    /// Replaces the file in one step, so that a service never reads half of it.
    fn write(&self) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Write {
            path: self.path.clone(),
            source,
        };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_vec_pretty(&self.contents).map_err(std::io::Error::other);
        text.and_then(|text| replace_secret_file(&self.path, &text))
            .map_err(failed)
    }
}

/// Libraries in the file, by their names.
mod library_names {
    use lookalike_proto::LibraryName;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        libraries: &Option<Vec<LibraryName>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let names = libraries.iter().flatten().map(LibraryName::as_str);
        names.collect::<Vec<_>>().serialize(serializer)
    }

    /// An empty list permits no library at all.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<LibraryName>>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?.into_iter();
        let names = names.map(|name| LibraryName::new(&name).map_err(D::Error::custom));
        names.collect::<Result<_, _>>().map(Some)
    }
}

fn hash_key(key: &str) -> String {
    ContentHash::hash_content(key.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(folder: &tempfile::TempDir) -> KeyFile {
        KeyFile::read(&folder.path().join("new/keys.json")).unwrap()
    }

    #[test]
    fn keys_are_found_until_they_are_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let phone = open(&folder).add(" phone ", &[Scope::Search], &[]).unwrap();
        let script = open(&folder)
            .add(
                "script",
                &[Scope::Ingest, Scope::Search, Scope::Ingest],
                &[],
            )
            .unwrap();
        assert_eq!(phone.stored.name, "phone");
        assert_eq!(script.stored.scopes, [Scope::Search, Scope::Ingest]);
        let mut file = open(&folder);
        assert_eq!(file.keys().len(), 2);
        assert_eq!(file.find(&phone.key), Some(&phone.stored));
        for wrong in [
            "",
            "lk_",
            &phone.key[1..],
            &phone.key[..phone.key.len() - 1],
            &format!("{}x", phone.key),
            &phone.key.replace(&phone.stored.id, &script.stored.id),
            &phone.stored.hash,
        ] {
            assert_eq!(file.find(wrong), None, "{wrong}");
        }
        assert_eq!(file.revoke("phone").unwrap(), phone.stored);
        assert_eq!(open(&folder).find(&phone.key), None);
        assert!(open(&folder).find(&script.key).is_some());
        assert!(matches!(
            file.revoke("phone"),
            Err(KeyFileError::Unknown(_))
        ));
    }

    #[test]
    fn the_file_keeps_no_secret_and_belongs_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let new = KeyFile::read(&path)
            .unwrap()
            .add("a", &[Scope::Admin], &[])
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // The secret itself may contain the separator.
        let secret = new.key.splitn(3, '_').nth(2).unwrap();
        assert!(!text.contains(&secret[..8]) && text.contains(&new.stored.hash));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn libraries_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let [photos, shoes] = ["photos", "shoes"].map(|name| LibraryName::new(name).unwrap());
        let twice = [shoes.clone(), photos.clone(), shoes.clone()];
        let limited = open(&folder).add("a", &[Scope::Search], &twice).unwrap();
        assert_eq!(limited.stored.libraries, Some(vec![photos, shoes]));
        let free = open(&folder).add("b", &[Scope::Search], &[]).unwrap();
        assert_eq!(open(&folder).keys(), [limited.stored, free.stored]);
        let path = folder.path().join("new/keys.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("libraries").count(), 1, "{text}");
        // An edited file never permits more than it states.
        let none = text.replace("\"photos\",", "").replace("\"shoes\"", "");
        std::fs::write(&path, none).unwrap();
        assert_eq!(open(&folder).keys()[0].libraries, Some(vec![]));
        std::fs::write(&path, text.replace("photos", "../photos")).unwrap();
        let damaged = KeyFile::read(&path);
        assert!(matches!(damaged, Err(KeyFileError::Parse { .. })));
    }

    #[test]
    fn wrong_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(&folder);
        for name in ["", "  ", "a\nb", &"x".repeat(101)] {
            let refused = file.add(name, &[Scope::Search], &[]);
            assert!(
                matches!(refused, Err(KeyFileError::InvalidName)),
                "{name:?}"
            );
        }
        assert!(matches!(
            file.add("a", &[], &[]),
            Err(KeyFileError::NoScope)
        ));
        file.add("twice", &[Scope::Search], &[]).unwrap();
        let second = file.add("twice", &[Scope::Search], &[]).unwrap();
        assert!(matches!(
            file.revoke("twice"),
            Err(KeyFileError::Ambiguous(_))
        ));
        file.revoke(&second.stored.id).unwrap();
        std::fs::write(folder.path().join("new/keys.json"), "{\"keys\": 1}").unwrap();
        let damaged = KeyFile::read(&folder.path().join("new/keys.json"));
        assert!(matches!(damaged, Err(KeyFileError::Parse { .. })));
    }
}
