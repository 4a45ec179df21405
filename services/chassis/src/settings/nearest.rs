//! The nearest known key of one that is unknown, for error messages.

/// Keys that are less similar than this (Jaro-Winkler, 0 to 1) are no help.
const MIN_SIMILARITY: f64 = 0.75;

/// Returns the known key that resembles `key` most, if one does. A key without its section matches the
/// same key in any section.
pub fn find_nearest_key<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase();
    let last_part = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let similarity = |known: &str| {
        let whole = strsim::jaro_winkler(&key, known);
        let part = strsim::jaro_winkler(&last_part(&key), &last_part(known));
        // The part alone must count a little less, so that a section that was given decides.
        whole.max(part * 0.98)
    };
    let scored = known.iter().map(|known| (similarity(known), known));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score >= MIN_SIMILARITY)
        .map(|(_, known)| known.as_str())
}

/// Returns the key that was probably meant, if `message` is serde's message about an unknown field.
/// Fields of the same section come first, then the keys of all sections.
pub(super) fn suggest_for_unknown_field(message: &str, known: &[String]) -> Option<String> {
    let rest = message.split("unknown field `").nth(1)?;
    let (unknown, rest) = rest.split_once('`')?;
    let fields: Vec<String> = rest
        .split("; ")
        .next()
        .unwrap_or_default()
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let elsewhere = known
        .iter()
        .find(|key| key.rsplit('.').next() == Some(unknown));
    elsewhere
        .map(String::as_str)
        .or_else(|| find_nearest_key(unknown, &fields))
        .or_else(|| find_nearest_key(unknown, known))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_keys_are_suggested() {
        let known =
            ["nats.url", "milvus.url", "watch.settle_interval", "offline"].map(str::to_owned);
        for (key, nearest) in [
            ("nats.uri", Some("nats.url")),
            ("milvus.ulr", Some("milvus.url")),
            ("settle_intervall", Some("watch.settle_interval")),
            ("watch.setle_interval", Some("watch.settle_interval")),
            ("Offline", Some("offline")),
            ("zzz", None),
        ] {
            assert_eq!(find_nearest_key(key, &known), nearest, "{key}");
        }
    }

    #[test]
    fn the_message_of_serde_names_the_fields() {
        let known = ["nats.url".to_owned(), "watch.settle_interval".to_owned()];
        let message = "unknown field `usr`, expected one of `url`, `user`, `password`; in `nats`";
        assert_eq!(
            suggest_for_unknown_field(message, &known).as_deref(),
            Some("user")
        );
        let message = "unknown field `settle_interval`, expected `nats` or `watch`";
        assert_eq!(
            suggest_for_unknown_field(message, &known).as_deref(),
            Some("watch.settle_interval")
        );
        assert_eq!(suggest_for_unknown_field("invalid type", &known), None);
    }
}
