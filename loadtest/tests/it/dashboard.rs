//! The dashboard queries only metrics that exist, and every panel has a title, a unit and advice.

use std::collections::HashSet;
use std::fs;

use lookalike_loadtest::metric_names;
use serde_json::Value;

use crate::checkout_root;

fn read_dashboard() -> Value {
    let path = checkout_root().join("grafana/dashboards/overview.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns all panels, including those inside rows.
fn all_panels(dashboard: &Value) -> Vec<&Value> {
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        panels.push(panel);
        if let Some(inside) = panel["panels"].as_array() {
            panels.extend(inside);
        }
    }
    panels
}

/// Returns the words of a query that name series: those with one of our prefixes.
fn series_names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("lookalike_") || word.starts_with("process_"))
}

#[test]
fn every_query_names_metrics_that_exist() {
    let dashboard = read_dashboard();
    let mut used = HashSet::new();
    for panel in all_panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let mut count = 0;
            for name in series_names(query) {
                let metric = metric_names::find_by_series(name)
                    .unwrap_or_else(|| panic!("no metric exports {name}, in {query}"));
                used.insert(metric.name);
                count += 1;
            }
            assert!(count > 0, "{query} uses none of our metrics");
        }
    }
    // The overview must show at least these.
    for name in [
        "lookalike_files",
        "lookalike_file_to_searchable_seconds",
        "lookalike_queue_pending",
        "lookalike_queue_oldest_seconds",
        "lookalike_embeddings_total",
        "lookalike_embeddings_reused_total",
        "lookalike_stage_seconds",
        "lookalike_batch_size",
        "lookalike_search_seconds",
        "lookalike_search_embed_seconds",
        "lookalike_milvus_seconds",
        "lookalike_http_requests_total",
        "lookalike_failures",
        "lookalike_device_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(used.contains(name), "no panel shows {name}");
    }
}

#[test]
fn panels_have_ids_titles_units_and_advice() {
    let dashboard = read_dashboard();
    let mut ids = HashSet::new();
    for panel in all_panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: id used twice"
        );
        if panel["type"] == "row" {
            continue;
        }
        let advice = panel["description"].as_str().unwrap_or_default();
        assert!(
            advice.len() > 40,
            "{title}: the description gives no advice"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}: no unit"
        );
        assert_eq!(panel["datasource"]["uid"], "prometheus", "{title}");
    }
    assert!(ids.len() > 12);
}
