//! Durations on the command line, with the units of the settings: `45s`, `10m`, `2h`.

use std::time::Duration;

use lookalike_chassis::settings::duration;
use serde::de::IntoDeserializer as _;

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    duration::deserialize(text).map_err(|error| error.to_string())
}

pub fn parse_nonzero_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    match duration.is_zero() {
        true => Err("must be longer than zero".to_owned()),
        false => Ok(duration),
    }
}
