//! `config`: shows, checks and explains the settings.

use anyhow::{Result, anyhow};
use lookalike_chassis::settings::{Layers, SettingValue, ValueSource, find_nearest_key};
use lookalike_chassis::stdio;
use lookalike_client::{terminal, usage_error};
use serde_json::{Value, json};

use crate::cli::{
    Cli, ConfigArgs, ConfigCheckArgs, ConfigCommand, ConfigDocsArgs, ConfigGetArgs, ConfigShowArgs,
};
use crate::settings::{
    SettingDescription, Settings, describe_settings, find_settings_file, resolve_settings,
    variable_of,
};

/// Width of the lines of descriptions.
const TEXT_WIDTH: usize = 96;

pub fn run_config(cli: &Cli, args: &ConfigArgs) -> Result<()> {
    match &args.command {
        None => show_settings(cli, &args.show),
        Some(ConfigCommand::Show(args)) => show_settings(cli, args),
        Some(ConfigCommand::Get(args)) => get_setting(cli, args),
        Some(ConfigCommand::Check(args)) => check_file(cli, args),
        Some(ConfigCommand::Default) => Ok(stdio::write_text(&format_default_file())?),
        Some(ConfigCommand::Docs(args)) => explain_settings(args),
    }
}

fn show_settings(cli: &Cli, args: &ConfigShowArgs) -> Result<()> {
    let resolved = resolve_settings(cli)?;
    let is_shown =
        |setting: &&SettingValue| !args.changed || setting.source != ValueSource::Default;
    if args.json {
        let values = resolved.values.iter().filter(is_shown).map(to_json);
        let settings: Vec<Value> = values.collect();
        return Ok(terminal::write_json(&json!({ "settings": settings }))?);
    }
    if !args.changed {
        return Ok(stdio::write_text(&resolved.annotated_toml)?);
    }
    let mut text = String::new();
    for setting in resolved.values.iter().filter(is_shown) {
        let line = format!("{} = {}", setting.key, setting.toml);
        text += &format!("{line:<48} # {}\n", setting.source);
    }
    if text.is_empty() {
        text += "all settings have their defaults\n";
    }
    Ok(stdio::write_text(&terminal::escape_lines(&text))?)
}

fn get_setting(cli: &Cli, args: &ConfigGetArgs) -> Result<()> {
    let resolved = resolve_settings(cli)?;
    let found = resolved.values.iter().find(|s| s.key == args.key);
    let Some(setting) = found else {
        // A setting that is not set has no value, but exists.
        let described = describe_settings();
        if described.iter().any(|setting| setting.key == args.key) {
            return match args.json {
                true => Ok(terminal::write_json(
                    &json!({ "key": args.key, "value": null, "source": "default" }),
                )?),
                false => Ok(stdio::write_line("")?),
            };
        }
        return Err(unknown_key(&args.key, &described));
    };
    if args.json {
        return Ok(terminal::write_json(&to_json(setting))?);
    }
    let text = match setting.value.as_str() {
        Some(text) => text.to_owned(),
        None => setting.toml.clone(),
    };
    Ok(stdio::write_line(&terminal::escape_line(&text))?)
}

fn unknown_key(key: &str, described: &[SettingDescription]) -> anyhow::Error {
    let known: Vec<String> = described.iter().map(|s| s.key.clone()).collect();
    let hint = match find_nearest_key(key, &known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "`lookalike config docs` lists all".to_owned(),
    };
    usage_error(anyhow!("there is no setting {key}; {hint}"))
}

fn check_file(cli: &Cli, args: &ConfigCheckArgs) -> Result<()> {
    let given = args.file.as_deref().or(cli.config.as_deref());
    let file = find_settings_file(given).ok_or_else(|| {
        usage_error(anyhow!(
            "there is no lookalike.toml here or in the configuration folder: name the file to check"
        ))
    })?;
    let layers = Layers::new(Settings::default())
        .with_file(&file)
        .map_err(usage_error)?;
    layers
        .settings()
        .check_values()
        .map_err(|error| error.context(format!("{} is not valid", file.display())))?;
    let settings = layers.list_settings();
    let set = settings
        .iter()
        .filter(|setting| setting.source != ValueSource::Default);
    let line = format!(
        "{} is valid and sets {}",
        file.display(),
        match set.count() {
            1 => "1 setting".to_owned(),
            count => format!("{count} settings"),
        }
    );
    Ok(stdio::write_line(&terminal::escape_line(&line))?)
}

fn explain_settings(args: &ConfigDocsArgs) -> Result<()> {
    let described = describe_settings();
    let selected: Vec<&SettingDescription> = match &args.key {
        None => described.iter().collect(),
        Some(key) => {
            let section = format!("{}.", key.trim_end_matches('.'));
            let is_wanted = |s: &&SettingDescription| s.key == *key || s.key.starts_with(&section);
            described.iter().filter(is_wanted).collect()
        }
    };
    if let (Some(key), true) = (&args.key, selected.is_empty()) {
        return Err(unknown_key(key, &described));
    }
    let defaults = Layers::new(Settings::default()).list_settings();
    let default_of = |key: &str| defaults.iter().find(|setting| setting.key == key);
    if args.json {
        let settings = selected.iter().map(|setting| {
            json!({
                "key": setting.key,
                "description": setting.text,
                "default": default_of(&setting.key).map(|default| to_json_value(&default.value)),
                "variable": variable_of(&setting.key),
            })
        });
        let settings: Vec<Value> = settings.collect();
        return Ok(terminal::write_json(&json!({ "settings": settings }))?);
    }
    let mut text = String::new();
    for setting in selected {
        let default = match default_of(&setting.key) {
            Some(default) => format!("default {}, ", default.toml),
            None => String::new(),
        };
        text += &format!("{} ({default}{})\n", setting.key, variable_of(&setting.key));
        for line in wrap_text(&setting.text, TEXT_WIDTH) {
            text += &format!("    {line}\n");
        }
    }
    Ok(stdio::write_text(&text)?)
}

/// A settings file that changes nothing: all settings are comments.
fn format_default_file() -> String {
    let mut text = "# Settings of lookalike. Remove the `#` before a setting to change it.\n\
                    # Environment variables override this file, and flags override both.\n"
        .to_owned();
    let defaults = Layers::new(Settings::default()).list_settings();
    let mut section = "";
    for setting in &describe_settings() {
        let (table, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        if name == "libraries" {
            // A table, which must not precede the settings of the top level.
            continue;
        }
        if table != section {
            if section.is_empty() {
                text +=
                    "\n# Root folders by library name.\n[libraries]\n# pictures = \"~/Pictures\"\n";
            }
            text += &format!("\n[{table}]\n");
            section = table;
        }
        text.push('\n');
        for line in wrap_text(&setting.text, TEXT_WIDTH) {
            text += &format!("# {line}\n");
        }
        let default = defaults.iter().find(|default| default.key == setting.key);
        text += &match default {
            Some(default) => format!("# {name} = {}\n", default.toml),
            None => format!("# {name} = \"…\"\n"),
        };
    }
    text
}

fn wrap_text(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        *line += word;
    }
    lines
}

fn to_json(setting: &SettingValue) -> Value {
    json!({
        "key": setting.key,
        "value": to_json_value(&setting.value),
        "source": setting.source.to_string(),
    })
}

fn to_json_value(value: &toml::Value) -> Value {
    // Settings contain no dates, so every value has a counterpart.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_valid_and_changes_nothing() {
        let text = format_default_file();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lookalike.toml");
        std::fs::write(&file, &text).unwrap();
        let defaults = Layers::new(Settings::default()).to_annotated_toml();
        let read = |file: &std::path::Path| {
            let layers = Layers::new(Settings::default()).with_file(file);
            layers.map(|layers| layers.list_settings())
        };
        let unchanged = read(&file).unwrap();
        assert!(unchanged.iter().all(|s| s.source == ValueSource::Default));
        // With every setting in effect, it has the same values.
        let is_setting = |line: &str| {
            let assigned = line.strip_prefix("# ").and_then(|l| l.split_once(" = "));
            assigned.is_some_and(|(name, _)| !name.contains(' '))
        };
        let uncommented: String = text
            .lines()
            .filter(|line| !line.contains("\"…\"") && !line.contains("~/Pictures"))
            .map(|line| match is_setting(line) {
                true => format!("{}\n", &line[2..]),
                false => format!("{line}\n"),
            })
            .collect();
        std::fs::write(&file, &uncommented).unwrap();
        let layers = Layers::new(Settings::default()).with_file(&file).unwrap();
        let values = |settings: Vec<SettingValue>| -> Vec<(String, String)> {
            settings.into_iter().map(|s| (s.key, s.toml)).collect()
        };
        assert_eq!(
            values(layers.list_settings()),
            values(Layers::new(Settings::default()).list_settings()),
            "{uncommented}"
        );
        let set = layers.list_settings();
        assert!(set.iter().all(|s| s.source != ValueSource::Default));
        assert!(defaults.contains("[watch]"));
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let described = describe_settings();
        let error = unknown_key("watch.pol_interval", &described).to_string();
        assert!(
            error.ends_with("did you mean watch.poll_interval?"),
            "{error}"
        );
        let error = unknown_key("zzzz", &described).to_string();
        assert!(error.contains("config docs"), "{error}");
    }

    #[test]
    fn lines_are_wrapped_at_words() {
        assert_eq!(wrap_text("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap_text("", 5), [""]);
    }
}
