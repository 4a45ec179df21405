//! API keys: who may use the service, and for what.
//!
//! A key is `lk_<id>_<secret>`: eight hexadecimal digits that name it, and 32 random bytes in
//! base64url. The [`KeyFile`] stores the BLAKE3 hash of the whole key. A plain hash suffices, because
//! an attacker cannot guess 256 random bits; slow hashes protect passwords that people choose.
//!
//! | step | where |
//! |---|---|
//! | create, list and revoke keys; read and write the file | [`KeyFile`] |
//! | look a key up for a request; follow changes of the file | [`KeyRing`] |

mod file;
mod ring;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use file::{KeyFile, KeyFileError, NewKey, StoredKey};
pub(crate) use ring::{KeyRing, run_key_reload};

/// The valid key that a request carries.
#[derive(Debug, Clone)]
pub(crate) struct RequestKey(pub StoredKey);

/// What a key permits, in its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Search, and read everything: pictures, failures, histories, the state of the index.
    Search,
    /// Also start scans of libraries.
    Ingest,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Search, Self::Ingest, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with this scope may do what needs `required`. `admin` includes the others.
    fn includes(self, required: Self) -> bool {
        self == Self::Admin || self == required
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admin_includes_other_scopes() {
        for scope in Scope::ALL {
            for required in Scope::ALL {
                let expected = scope == required || scope == Scope::Admin;
                assert_eq!(scope.includes(required), expected, "{scope} {required}");
            }
        }
    }
}
