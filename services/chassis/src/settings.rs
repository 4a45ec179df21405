//! Settings in layers: defaults < file < environment < flags.
//!
//! The settings of a role are one serde struct whose `Default` works without configuration.
//! [`Layers`] applies one layer after the other, records the source of each value, and checks after
//! each layer, so that an error names its source. Unknown keys are errors in every layer.

pub mod duration;
mod nearest;
mod positive;
pub mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use duration::MinDuration;
pub use nearest::find_nearest_key;
pub use positive::deserialize_positive;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use size::MinSize;
use toml::{Table, Value};

/// The layer that a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    Default,
    File(PathBuf),
    Environment(String),
    /// A flag or argument on the command line.
    Flag(String),
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the settings file {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        path: PathBuf,
        /// The parser's message, on one line.
        message: String,
    },
    /// A value has the wrong type, or a key is unknown.
    #[error("{value_source}: {message}")]
    Invalid {
        value_source: ValueSource,
        /// The reason, on one line.
        message: String,
    },
}

/// A setting with the layer that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingValue {
    /// Dotted, as in `nats.url`.
    pub key: String,
    /// In the syntax of TOML; a secret is hidden.
    pub toml: String,
    /// Hidden if it is a secret.
    pub value: Value,
    pub source: ValueSource,
}

/// The layers of settings of a struct `T`, merged.
pub struct Layers<T> {
    merged: Table,
    sources: BTreeMap<String, ValueSource>,
    settings: T,
}

impl<T: Serialize + DeserializeOwned> Layers<T> {
    /// Starts with the defaults.
    pub fn new(defaults: T) -> Self {
        let merged = Table::try_from(&defaults).expect("a settings struct is a table");
        Self {
            merged,
            sources: BTreeMap::new(),
            settings: defaults,
        }
    }

    /// Applies the settings file `path`.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or has an unknown key or a value of the wrong type.
    pub fn with_file(self, path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let layer: Table = text.parse().map_err(|e: toml::de::Error| Error::Syntax {
            path: path.to_owned(),
            message: join_lines(&e.to_string()),
        })?;
        self.apply_layer(layer, &ValueSource::File(path.to_owned()))
    }

    /// Applies the variables `PREFIX_SECTION_KEY` and ignores all others.
    ///
    /// # Errors
    /// A variable names no key, or its value has the wrong type.
    pub fn with_environment(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut own_variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, text)| {
                let key = name
                    .strip_prefix(prefix)?
                    .strip_prefix('_')?
                    .to_ascii_lowercase();
                Some((name, key, text))
            })
            .collect();
        own_variables.sort();
        for (name, key, text) in own_variables {
            let (path, default) = locate_key(&self.merged, &key);
            let source = ValueSource::Environment(name);
            let value = parse_like(default, &text).map_err(|message| Error::Invalid {
                value_source: source.clone(),
                message,
            })?;
            self = self.apply_layer(nest_value(&path, value), &source)?;
        }
        Ok(self)
    }

    /// Applies one value, given by `flag`, at a dotted key.
    ///
    /// # Errors
    /// The value has the wrong type.
    pub fn with_flag(self, key: &str, value: impl Into<Value>, flag: &str) -> Result<Self, Error> {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.apply_layer(
            nest_value(&path, value.into()),
            &ValueSource::Flag(flag.to_owned()),
        )
    }

    /// Returns the merged settings.
    pub fn settings(&self) -> &T {
        &self.settings
    }

    /// Lists all settings that have a value; secrets are hidden.
    pub fn list_settings(&self) -> Vec<SettingValue> {
        let values = list_values(&self.merged).into_iter();
        values
            .map(|(key, value)| {
                let (_, name) = split_key(&key);
                let value = hide_secret(name, &value);
                let source = self.sources.get(&key);
                SettingValue {
                    toml: value.to_string(),
                    value,
                    source: source.cloned().unwrap_or(ValueSource::Default),
                    key,
                }
            })
            .collect()
    }

    /// Formats the merged settings as a TOML file with one value per line and its source in a
    /// comment; secrets are hidden.
    pub fn to_annotated_toml(&self) -> String {
        let mut lines = String::new();
        let mut section = None;
        for setting in self.list_settings() {
            let (table, name) = split_key(&setting.key);
            if section.as_deref() != Some(table) {
                if !table.is_empty() {
                    lines += &format!("\n[{table}]\n");
                }
                section = Some(table.to_owned());
            }
            // A name given from outside must not start a new line.
            let source = setting.source.to_string().replace(char::is_control, "?");
            lines += &format!("{:<48} # {source}\n", format!("{name} = {}", setting.toml));
        }
        lines
    }

    fn apply_layer(mut self, layer: Table, source: &ValueSource) -> Result<Self, Error> {
        for (key, _) in list_values(&layer) {
            self.sources.insert(key, source.clone());
        }
        let known: Vec<String> = list_values(&self.merged)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        merge_tables(&mut self.merged, layer);
        self.settings =
            Value::Table(self.merged.clone())
                .try_into()
                .map_err(|e: toml::de::Error| {
                    let message = join_lines(&e.to_string());
                    let nearest = nearest::suggest_for_unknown_field(&message, &known);
                    Error::Invalid {
                        value_source: source.clone(),
                        message: match nearest {
                            Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
                            None => message,
                        },
                    }
                })?;
        Ok(self)
    }
}

/// Returns the key path that the lower-case rest of a variable's name stands for, and its current
/// value, if any. Sections match as long as possible; the remainder is the key.
fn locate_key<'t>(table: &'t Table, rest: &str) -> (Vec<String>, Option<&'t Value>) {
    if let Some(value) = table.get(rest) {
        return (vec![rest.to_owned()], Some(value));
    }
    let nested = table.iter().filter_map(|(section, value)| {
        let inner = rest.strip_prefix(section.as_str())?.strip_prefix('_')?;
        let (mut path, value) = locate_key(value.as_table()?, inner);
        path.insert(0, section.clone());
        Some((path, value))
    });
    nested
        .max_by_key(|(path, value)| (value.is_some(), path.len()))
        .unwrap_or((vec![rest.to_owned()], None))
}

/// Parses a variable's text as the type that the current value has.
fn parse_like(default: Option<&Value>, text: &str) -> Result<Value, String> {
    let not_a = |expected: &str| format!("{text:?} is not {expected}");
    Ok(match default {
        Some(Value::Integer(_)) => {
            Value::Integer(text.trim().parse().map_err(|_| not_a("a whole number"))?)
        }
        Some(Value::Float(_)) => Value::Float(text.trim().parse().map_err(|_| not_a("a number"))?),
        Some(Value::Boolean(_)) => {
            Value::Boolean(text.trim().parse().map_err(|_| not_a("true or false"))?)
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

fn nest_value(path: &[String], value: Value) -> Table {
    let (key, rest) = path.split_first().expect("a key has at least one part");
    let value = if rest.is_empty() {
        value
    } else {
        Value::Table(nest_value(rest, value))
    };
    Table::from_iter([(key.clone(), value)])
}

fn merge_tables(target: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (target.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge_tables(below, above),
            (_, value) => {
                target.insert(key, value);
            }
        }
    }
}

/// Lists every value that is not a table by its dotted key. TOML requires the top level first.
fn list_values(table: &Table) -> Vec<(String, Value)> {
    let (tables, mut values): (Vec<_>, Vec<_>) = table
        .iter()
        .map(|(key, value)| (quote_key(key), value.clone()))
        .partition(|(_, value)| value.is_table());
    for (section, inner) in tables {
        let inner = inner.as_table().expect("partitioned above");
        values.extend(
            list_values(inner)
                .into_iter()
                .map(|(key, v)| (format!("{section}.{key}"), v)),
        );
    }
    values
}

/// Splits a dotted key into its section, which may be empty, and its name.
fn split_key(key: &str) -> (&str, &str) {
    match key.find(".\"").filter(|_| key.ends_with('"')) {
        Some(quoted) => (&key[..quoted], &key[quoted + 1..]),
        None => key.rsplit_once('.').unwrap_or(("", key)),
    }
}

/// Quotes a key for a TOML file if needed: before they are checked, library names may contain any
/// characters.
fn quote_key(key: &str) -> String {
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

/// Returns the range of the credentials in an address or a list of addresses: everything between the
/// first scheme and the last `@`.
pub fn find_credentials(url: &str) -> Option<Range<usize>> {
    let at = url.rfind('@')?;
    let scheme = url.find("://").filter(|scheme| *scheme < at);
    Some(scheme.map_or(0, |scheme| scheme + 3)..at)
}

fn hide_secret(name: &str, value: &Value) -> Value {
    const SECRET: [&str; 5] = ["password", "token", "secret", "credentials", "api_key"];
    match value {
        Value::String(text) if SECRET.iter().any(|s| name.contains(s)) && !text.is_empty() => {
            Value::from("(hidden)")
        }
        // user:password@host, possibly without a scheme or with several addresses.
        Value::String(text) if name == "url" || text.contains("://") => {
            match find_credentials(text) {
                Some(hidden) => {
                    let (before, behind) = (&text[..hidden.start], &text[hidden.end..]);
                    Value::from(format!("{before}(hidden){behind}"))
                }
                None => value.clone(),
            }
        }
        _ => value.clone(),
    }
}

fn join_lines(text: &str) -> String {
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
        #[serde(deserialize_with = "deserialize_positive")]
        tries: u32,
        #[serde(with = "MinDuration::<1000>")]
        interval: Duration,
    }

    impl Default for Nats {
        fn default() -> Self {
            Self {
                url: "nats://127.0.0.1:4222".into(),
                password: String::new(),
                call_timeout: Duration::from_millis(750),
                max_bytes: 64 << 20,
                tries: 3,
                interval: Duration::from_secs(60),
            }
        }
    }

    fn default_layers() -> Layers<Outer> {
        Layers::new(Outer::default())
    }

    fn owned_variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Found by fuzzing: a variable may contain any name, and the description must stay valid TOML.
    #[test]
    fn the_description_is_valid_toml_for_any_names() {
        let odd = "a<b \"c\\ d\u{1}.e";
        let name = format!("LOOKALIKE_LIBRARIES_{}", odd.to_uppercase());
        let layers = default_layers()
            .with_environment("LOOKALIKE", owned_variables(&[(&name, "/x")]))
            .unwrap();
        assert_eq!(layers.settings().libraries[odd], "/x");
        let reparsed: Outer = toml::from_str(&layers.to_annotated_toml()).unwrap();
        assert_eq!(reparsed.libraries[odd], "/x");
    }

    #[test]
    fn senseless_values_are_refused() {
        let read = |name: &str, value: &str| {
            let layers =
                default_layers().with_environment("LOOKALIKE", owned_variables(&[(name, value)]));
            layers
                .map(|layers| layers.settings().nats.interval)
                .map_err(|error| error.to_string())
        };
        let error = read("LOOKALIKE_NATS_TRIES", "0").unwrap_err();
        assert!(error.contains("the smallest is 1"), "{error}");
        for short in ["0s", "999ms"] {
            let error = read("LOOKALIKE_NATS_INTERVAL", short).unwrap_err();
            assert!(error.contains("LOOKALIKE_NATS_INTERVAL"), "{error}");
            assert!(error.contains("the shortest is \"1s\""), "{error}");
        }
        assert_eq!(
            read("LOOKALIKE_NATS_INTERVAL", "1s"),
            Ok(Duration::from_secs(1))
        );
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
        let layers = default_layers()
            .with_file(&file)
            .unwrap()
            .with_environment(
                "LOOKALIKE",
                owned_variables(&[
                    ("LOOKALIKE_NATS_TRIES", "7"),
                    ("LOOKALIKE_LIBRARIES_SHOP", "/shop"),
                    ("LOOKALIKE_NATS_PASSWORD", "x"),
                    ("PATH", "/bin"),
                ]),
            )
            .unwrap()
            .with_flag(
                "nats.url",
                "nats://someone:open-sesame@host:1",
                "--nats-url",
            )
            .unwrap();
        let settings = layers.settings();
        assert_eq!(settings.nats.call_timeout, Duration::from_secs(2));
        assert_eq!(settings.nats.max_bytes, 1 << 30);
        assert_eq!(settings.nats.tries, 7);
        assert_eq!(settings.libraries["shop"], "/shop");
        let text = layers.to_annotated_toml();
        assert!(
            text.contains("# environment LOOKALIKE_NATS_TRIES"),
            "{text}"
        );
        assert!(
            text.contains("# --nats-url") && text.contains("# default"),
            "{text}"
        );
        assert!(
            !text.contains("sesame") && text.contains("password = \"(hidden)\""),
            "{text}"
        );
        for url in [
            "u:pw@a:1",
            "u:pw@a:1,nats://b:2",
            "nats://a:1,nats://u:pw@b:2",
        ] {
            assert!(
                !hide_secret("url", &Value::from(url))
                    .to_string()
                    .contains("pw"),
                "{url}"
            );
        }
        assert_eq!(
            hide_secret("root", &Value::from("/a@b")).as_str(),
            Some("/a@b")
        );
    }

    #[test]
    fn errors_name_their_source() {
        let bad = |name: &str, value: &str| {
            let Err(error) =
                default_layers().with_environment("LOOKALIKE", owned_variables(&[(name, value)]))
            else {
                panic!("{name}={value} was taken");
            };
            error.to_string()
        };
        assert!(bad("LOOKALIKE_NATS_TRIES", "x").contains("not a whole number"));
        assert!(bad("LOOKALIKE_NATS_CALL_TIMEOUT", "x").contains("LOOKALIKE_NATS_CALL_TIMEOUT"));
        assert!(bad("LOOKALIKE_NATS_URI", "x").contains("unknown field `uri`"));
        assert!(bad("LOOKALIKE_NATS_URI", "x").ends_with("did you mean `url`?"));
        assert!(bad("LOOKALIKE_INTERVAL", "1s").ends_with("did you mean `nats.interval`?"));
        assert!(bad("LOOKALIKE_NOPE", "x").contains("unknown field `nope`"));
        assert!(bad("LOOKALIKE_NATS", "x").contains("names a section"));
    }

    #[test]
    fn a_description_is_a_settings_file() {
        let text = default_layers().to_annotated_toml();
        let reparsed: Outer = toml::from_str(&text).unwrap();
        assert_eq!(reparsed.nats.call_timeout, Duration::from_millis(750));
    }
}
