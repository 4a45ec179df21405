//! What each setting means: the doc comments of the settings structs, as this build was compiled from.

/// Each section with the source file of its settings struct.
const SECTION_SOURCES: &[(&str, &str)] = &[
    ("", include_str!("schema.rs")),
    ("log", include_str!("../../../chassis/src/telemetry.rs")),
    ("nats", include_str!("../../../bus/src/settings.rs")),
    ("milvus", include_str!("../../../index/src/settings.rs")),
    ("vision", include_str!("../../../vision/src/settings.rs")),
    ("watch", include_str!("../../../watcher/src/settings.rs")),
    ("embed", include_str!("../../../embedder/src/settings.rs")),
    ("audit", include_str!("../../../audit/src/settings.rs")),
    ("http", include_str!("../../../search/src/settings.rs")),
    (
        "saved_searches",
        include_str!("../../../search/src/saved/settings.rs"),
    ),
    (
        "webhooks",
        include_str!("../../../search/src/webhook/settings.rs"),
    ),
    (
        "uploads",
        include_str!("../../../search/src/uploads/settings.rs"),
    ),
    ("models", include_str!("../../../models/src/settings.rs")),
    ("servers", include_str!("../../../servers/src/settings.rs")),
];

/// A setting and its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDescription {
    /// Dotted, as in `nats.url`.
    pub key: String,
    /// One paragraph; empty for a section.
    pub text: String,
}

/// Returns the settings in the order of the structs, with their sections.
pub fn describe_settings() -> Vec<SettingDescription> {
    let sections: Vec<&str> = SECTION_SOURCES
        .iter()
        .map(|(section, _)| *section)
        .collect();
    let mut described = Vec::new();
    for (section, source) in SECTION_SOURCES {
        for (name, text) in documented_fields(source) {
            let key = match *section {
                "" if sections.contains(&&name[..]) => continue,
                "" => name,
                section => format!("{section}.{name}"),
            };
            described.push(SettingDescription { key, text });
        }
    }
    described
}

/// Returns the environment variable of a setting.
pub fn variable_of(key: &str) -> String {
    format!("LOOKALIKE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Returns the public fields of the settings struct in a source file, with their doc comments.
fn documented_fields(source: &str) -> Vec<(String, String)> {
    let body = source
        .split("pub struct ")
        .find_map(|rest| {
            let (name, rest) = rest.split_once(" {\n")?;
            name.ends_with("Settings").then_some(rest)
        })
        .and_then(|rest| rest.split_once("\n}\n"))
        .map_or("", |(body, _)| body);
    let mut fields = Vec::new();
    let mut text = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(sentence) = line.strip_prefix("///") {
            if !text.is_empty() {
                text.push(' ');
            }
            text += sentence.trim();
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().unwrap_or_default();
            fields.push((name.to_owned(), std::mem::take(&mut text)));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use lookalike_chassis::settings::Layers;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn every_setting_is_described() {
        let described = describe_settings();
        let text_of = |key: &str| {
            let found = described.iter().find(|setting| setting.key == key);
            found.map(|setting| setting.text.as_str())
        };
        let settings = Layers::new(Settings::default()).list_settings();
        assert!(settings.len() > 80, "hardly any setting was found");
        for setting in settings {
            let text = text_of(&setting.key).unwrap_or_default();
            assert!(text.len() > 10, "{} has no description", setting.key);
        }
        for setting in &described {
            assert!(
                !setting.text.is_empty(),
                "{} has no description",
                setting.key
            );
        }
        assert!(text_of("servers.cache_dir").is_some(), "it has no default");
        assert_eq!(
            text_of("watch.max_file_bytes"),
            Some("Larger files are ignored.")
        );
    }

    #[test]
    fn variables_set_what_they_name() {
        assert_eq!(
            variable_of("watch.max_file_bytes"),
            "LOOKALIKE_WATCH_MAX_FILE_BYTES"
        );
    }
}
