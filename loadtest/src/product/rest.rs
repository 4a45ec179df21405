//! Decides from the reported counts whether lookalike has processed all files.

use serde_json::Value;

/// Checks that lookalike reports `library_count` libraries, nothing in flight and `file_count` files.
/// The error says what is still in progress.
pub fn check_at_rest(stats: &Value, library_count: usize, file_count: u64) -> Result<(), String> {
    let libraries = stats["libraries"].as_array().map_or(&[][..], Vec::as_slice);
    if libraries.len() != library_count {
        return Err(format!("{} libraries are reported", libraries.len()));
    }
    for library in libraries {
        let name = library["name"].as_str().unwrap_or_default();
        if library["scanning"] != false {
            return Err(format!("{name} is being scanned"));
        }
        if let Some(degraded) = library["degraded"].as_array().and_then(|d| d.first()) {
            return Err(format!("{name} is degraded: {}", degraded["reason"]));
        }
    }
    let counts = ["in_flight", "on_disk"].map(|key| stats[key].as_u64());
    match counts {
        [Some(0), Some(on_disk)] if on_disk == file_count => Ok(()),
        [Some(0), Some(on_disk)] => Err(format!("{on_disk} files seen, {file_count} on disk")),
        [Some(in_flight), Some(_)] => Err(format!("{in_flight} in flight")),
        _ => Err("the counts are not known yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rest_is_told_from_work() {
        let stats = json!({
            "on_disk": 3, "in_flight": 0,
            "libraries": [{"name": "a", "scanning": false, "degraded": []}],
        });
        check_at_rest(&stats, 1, 3).unwrap();
        let without = |pointer: &str, value: Value| {
            let mut stats = stats.clone();
            *stats.pointer_mut(pointer).unwrap() = value;
            check_at_rest(&stats, 1, 3).unwrap_err()
        };
        assert_eq!(without("/in_flight", json!(1)), "1 in flight");
        assert_eq!(without("/on_disk", json!(2)), "2 files seen, 3 on disk");
        let scanned = without("/libraries/0/scanning", json!(true));
        assert_eq!(scanned, "a is being scanned");
        let degraded = without("/libraries/0/degraded", json!([{"reason": "root_missing"}]));
        assert!(degraded.contains("root_missing"), "{degraded}");
        for count in ["/in_flight", "/on_disk"] {
            assert_eq!(without(count, Value::Null), "the counts are not known yet");
        }
        assert!(check_at_rest(&stats, 2, 3).is_err());
        assert!(check_at_rest(&Value::Null, 1, 0).is_err());
    }
}
