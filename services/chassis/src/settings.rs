//! Settings in layers: defaults < file < environment < flags.
//!
//! A role's settings are one serde struct whose `Default` runs out of the box. [`Layers`] puts
//! the layers on top of each other, remembers where each value came from, and checks after each
//! one, so that an error names its culprit. Unknown keys are errors in every layer.

pub mod duration;
pub mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything else.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag or argument of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings file can't be read.
    #[error("can't read the settings file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The settings file is no TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, on one line.
        message: String,
    },
    /// A value does not fit, or a key is unknown.
    #[error("{origin}: {message}")]
    Invalid {
        /// Who said it.
        origin: Origin,
        /// What is wrong, on one line.
        message: String,
    },
}

/// Layers of settings for a struct `T`.
pub struct Layers<T> {
    value: Table,
    origins: BTreeMap<String, Origin>,
    settled: T,
}

impl<T: Serialize + DeserializeOwned> Layers<T> {
    /// Starts with the defaults.
    pub fn new(defaults: T) -> Self {
        let value = Table::try_from(&defaults).expect("a settings struct is a table");
        Self {
            value,
            origins: BTreeMap::new(),
            settled: defaults,
        }
    }

    /// Lays the settings file on top.
    ///
    /// # Errors
    /// When it can't be read or parsed, has an unknown key or a value that does not fit.
    pub fn file(self, path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let layer: Table = text.parse().map_err(|e: toml::de::Error| Error::Syntax {
            path: path.to_owned(),
            message: one_line(&e.to_string()),
        })?;
        self.lay(layer, &Origin::File(path.to_owned()))
    }

    /// Lays the variables `PREFIX_SECTION_KEY` on top; others are not looked at.
    ///
    /// # Errors
    /// When a variable names no key, or its value does not fit.
    pub fn environment(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut mine: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, text)| {
                let key = name
                    .strip_prefix(prefix)?
                    .strip_prefix('_')?
                    .to_ascii_lowercase();
                Some((name, key, text))
            })
            .collect();
        mine.sort();
        for (name, key, text) in mine {
            let (path, default) = locate(&self.value, &key);
            let origin = Origin::Environment(name);
            let value = parse_like(default, &text).map_err(|message| Error::Invalid {
                origin: origin.clone(),
                message,
            })?;
            self = self.lay(nest(&path, value), &origin)?;
        }
        Ok(self)
    }

    /// Lays one value on top, at a dotted key, as `flag` said it.
    ///
    /// # Errors
    /// When the value does not fit.
    pub fn flag(self, key: &str, value: impl Into<Value>, flag: &str) -> Result<Self, Error> {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.lay(nest(&path, value.into()), &Origin::Flag(flag.to_owned()))
    }

    /// What all layers together say.
    pub fn settled(&self) -> &T {
        &self.settled
    }

    /// Every value with its origin, one a line, as a settings file would have them; secrets hidden.
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        let mut section = None;
        for (key, value) in leaves(&self.value) {
            let (table, name) = match key.find(".\"").filter(|_| key.ends_with('"')) {
                Some(quoted) => (&key[..quoted], &key[quoted + 1..]),
                None => key.rsplit_once('.').unwrap_or(("", &key)),
            };
            if section.as_deref() != Some(table) {
                if !table.is_empty() {
                    lines += &format!("\n[{table}]\n");
                }
                section = Some(table.to_owned());
            }
            let shown = hide_secret(name, &value);
            let origin = self.origins.get(&key).unwrap_or(&Origin::Default);
            // Names from outside must not make lines of their own.
            let origin = origin.to_string().replace(char::is_control, "?");
            lines += &format!("{:<48} # {origin}\n", format!("{name} = {shown}"));
        }
        lines
    }

    fn lay(mut self, layer: Table, origin: &Origin) -> Result<Self, Error> {
        for (key, _) in leaves(&layer) {
            self.origins.insert(key, origin.clone());
        }
        merge(&mut self.value, layer);
        self.settled =
            Value::Table(self.value.clone())
                .try_into()
                .map_err(|e: toml::de::Error| Error::Invalid {
                    origin: origin.clone(),
                    message: one_line(&e.to_string()),
                })?;
        Ok(self)
    }
}

/// The dotted key that a variable's lower-case rest names: the longest known sections, then what
/// is left, with the value that is there now, if any.
fn locate<'t>(table: &'t Table, rest: &str) -> (Vec<String>, Option<&'t Value>) {
    if let Some(value) = table.get(rest) {
        return (vec![rest.to_owned()], Some(value));
    }
    let deeper = table.iter().filter_map(|(section, value)| {
        let inner = rest.strip_prefix(section.as_str())?.strip_prefix('_')?;
        let (mut path, value) = locate(value.as_table()?, inner);
        path.insert(0, section.clone());
        Some((path, value))
    });
    deeper
        .max_by_key(|(path, value)| (value.is_some(), path.len()))
        .unwrap_or((vec![rest.to_owned()], None))
}

/// Reads a variable's text as the kind of value that stands there already.
fn parse_like(default: Option<&Value>, text: &str) -> Result<Value, String> {
    let wrong = |expected: &str| format!("{text:?} is not {expected}");
    Ok(match default {
        Some(Value::Integer(_)) => {
            Value::Integer(text.trim().parse().map_err(|_| wrong("a whole number"))?)
        }
        Some(Value::Float(_)) => Value::Float(text.trim().parse().map_err(|_| wrong("a number"))?),
        Some(Value::Boolean(_)) => {
            Value::Boolean(text.trim().parse().map_err(|_| wrong("true or false"))?)
        }
        Some(Value::Array(_)) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(Value::from)
                .collect(),
        ),
        Some(Value::Table(_)) => return Err("names a section, not a setting".to_owned()),
        _ => Value::String(text.to_owned()),
    })
}

fn nest(path: &[String], value: Value) -> Table {
    let (key, rest) = path.split_first().expect("a key has at least one part");
    let value = if rest.is_empty() {
        value
    } else {
        Value::Table(nest(rest, value))
    };
    Table::from_iter([(key.clone(), value)])
}

fn merge(into: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Every value that is no table, by dotted key; the top level first, as TOML wants it.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    let (tables, mut found): (Vec<_>, Vec<_>) = table
        .iter()
        .map(|(key, value)| (key_of(key), value.clone()))
        .partition(|(_, value)| value.is_table());
    for (section, inner) in tables {
        let inner = inner.as_table().expect("partitioned above");
        found.extend(
            leaves(inner)
                .into_iter()
                .map(|(key, v)| (format!("{section}.{key}"), v)),
        );
    }
    found
}

/// A key as it is written in a file: names of libraries may be anything until they are checked.
fn key_of(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) {
        return key.to_owned();
    }
    let mut quoted = String::from('"');
    for c in key.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Where an address, or a list of them, has what must not be shown: all between its first scheme and
/// its last `@`.
pub fn credentials(url: &str) -> Option<Range<usize>> {
    let at = url.rfind('@')?;
    let scheme = url.find("://").filter(|scheme| *scheme < at);
    Some(scheme.map_or(0, |scheme| scheme + 3)..at)
}

fn hide_secret(name: &str, value: &Value) -> String {
    const SECRET: [&str; 4] = ["password", "token", "secret", "credentials"];
    match value {
        Value::String(text) if SECRET.iter().any(|s| name.contains(s)) && !text.is_empty() => {
            "\"(hidden)\"".to_owned()
        }
        // user:password@host, perhaps without a scheme, or of several addresses.
        Value::String(text) if name == "url" || text.contains("://") => match credentials(text) {
            Some(hidden) => {
                let (before, behind) = (&text[..hidden.start], &text[hidden.end..]);
                Value::from(format!("{before}(hidden){behind}")).to_string()
            }
            None => value.to_string(),
        },
        _ => value.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Debug, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        listen: String,
        nats: Nats,
        libraries: BTreeMap<String, String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Nats {
        url: String,
        password: String,
        #[serde(with = "duration")]
        call_timeout: Duration,
        #[serde(with = "size")]
        max_bytes: u64,
        tries: u32,
    }

    impl Default for Nats {
        fn default() -> Self {
            Self {
                url: "nats://127.0.0.1:4222".into(),
                password: String::new(),
                call_timeout: Duration::from_millis(750),
                max_bytes: 64 << 20,
                tries: 3,
            }
        }
    }

    fn layers() -> Layers<Outer> {
        Layers::new(Outer::default())
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Found by fuzzing: a variable may name anything, and what is shown must be a settings file.
    #[test]
    fn what_is_shown_is_a_file_whatever_the_names() {
        let odd = "a<b \"c\\ d\u{1}.e";
        let name = format!("LOOKALIKE_LIBRARIES_{}", odd.to_uppercase());
        let layers = layers()
            .environment("LOOKALIKE", variables(&[(&name, "/x")]))
            .unwrap();
        assert_eq!(layers.settled().libraries[odd], "/x");
        let again: Outer = toml::from_str(&layers.describe()).unwrap();
        assert_eq!(again.libraries[odd], "/x");
    }

    #[test]
    fn later_layers_win_and_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lookalike.toml");
        std::fs::write(
            &file,
            "[nats]\ncall_timeout = '2s'\nmax_bytes = '1GiB'\ntries = 5",
        )
        .unwrap();
        let layers = layers()
            .file(&file)
            .unwrap()
            .environment(
                "LOOKALIKE",
                variables(&[
                    ("LOOKALIKE_NATS_TRIES", "7"),
                    ("LOOKALIKE_LIBRARIES_SHOP", "/shop"),
                    ("LOOKALIKE_NATS_PASSWORD", "x"),
                    ("PATH", "/bin"),
                ]),
            )
            .unwrap()
            .flag("nats.url", "nats://u:pw@host:1", "--nats-url")
            .unwrap();
        let settled = layers.settled();
        assert_eq!(settled.nats.call_timeout, Duration::from_secs(2));
        assert_eq!(settled.nats.max_bytes, 1 << 30);
        assert_eq!(settled.nats.tries, 7);
        assert_eq!(settled.libraries["shop"], "/shop");
        let text = layers.describe();
        assert!(
            text.contains("# environment LOOKALIKE_NATS_TRIES"),
            "{text}"
        );
        assert!(
            text.contains("# --nats-url") && text.contains("# default"),
            "{text}"
        );
        assert!(
            !text.contains("pw") && text.contains("password = \"(hidden)\""),
            "{text}"
        );
        for url in [
            "u:pw@a:1",
            "u:pw@a:1,nats://b:2",
            "nats://a:1,nats://u:pw@b:2",
        ] {
            assert!(
                !hide_secret("url", &Value::from(url)).contains("pw"),
                "{url}"
            );
        }
        assert_eq!(hide_secret("root", &Value::from("/a@b")), "\"/a@b\"");
    }

    #[test]
    fn errors_name_their_culprit() {
        let bad = |name: &str, value: &str| {
            let Err(error) = layers().environment("LOOKALIKE", variables(&[(name, value)])) else {
                panic!("{name}={value} was taken");
            };
            error.to_string()
        };
        assert!(bad("LOOKALIKE_NATS_TRIES", "x").contains("not a whole number"));
        assert!(bad("LOOKALIKE_NATS_CALL_TIMEOUT", "x").contains("LOOKALIKE_NATS_CALL_TIMEOUT"));
        assert!(bad("LOOKALIKE_NATS_URI", "x").contains("unknown field `uri`"));
        assert!(bad("LOOKALIKE_NOPE", "x").contains("unknown field `nope`"));
        assert!(bad("LOOKALIKE_NATS", "x").contains("names a section"));
    }

    #[test]
    fn a_description_is_a_settings_file() {
        let text = layers().describe();
        let again: Outer = toml::from_str(&text).unwrap();
        assert_eq!(again.nats.call_timeout, Duration::from_millis(750));
    }
}
