//! Tests of the whole report.

use serde_json::{Value, json};

use super::*;
use crate::bench::samples::PairedSamples;
use crate::bench::targets::{TARGETS, find_target};

fn sample_report() -> BenchReport {
    let mut samples = PairedSamples::default();
    samples.push_round(112.0, 54.0);
    samples.push_round(108.0, 54.0);
    let mut report = BenchReport {
        command: "network".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        rows: vec![
            BenchRow::from_pairs(find_target("network.resnet34.batch8"), &samples),
            BenchRow::from_value(find_target("changes.restart"), 9.5, 1).with_note("at <60> rows"),
            BenchRow::info("decode & resize", "images/s", 321.0, 3),
        ],
        tables: vec![DetailTable {
            title: "models <b>".to_owned(),
            columns: vec!["model".to_owned()],
            rows: vec![vec!["a\"<script>".to_owned()]],
        }],
        figures: vec![ReportFigure {
            title: "latency of <i>".to_owned(),
            kind: FigureKind::Percentiles,
            x_label: "percentile".to_owned(),
            y_label: "ms".to_owned(),
            series: vec![FigureSeries {
                name: "at <rest>".to_owned(),
                points: vec![(0.0, 1.0), (50.0, 5.0), (99.0, 20.0)],
            }],
        }],
        notes: vec!["the peers' weights are <random>".to_owned()],
        ..BenchReport::default()
    };
    report.complete_rows(&["network"], "no \"peer\" <here>");
    report
}

#[test]
fn the_json_has_ratios_bars_and_reasons() {
    let json = sample_report().to_json();
    let row = |key: &str| {
        let rows = json["rows"].as_array().unwrap().iter();
        rows.clone().find(|row| row["key"] == key).unwrap().clone()
    };
    let measured = row("network.resnet34.batch8");
    assert_eq!(measured["peer"], 54.0);
    assert_eq!(measured["ours"], 110.0);
    assert!((measured["ratio"].as_f64().unwrap() - 110.0 / 54.0).abs() < 1e-9);
    assert!((measured["best_ratio"].as_f64().unwrap() - 112.0 / 54.0).abs() < 1e-9);
    assert_eq!(
        (&measured["bar"], &measured["aim"]),
        (&json!(1.6), &json!(2.0))
    );
    assert_eq!(measured["verdict"], "aim reached");
    assert_eq!(measured["command"], "lookalike-loadtest bench network");
    let missing = row("network.vit-s16.batch1");
    assert_eq!(missing["verdict"], "not measured");
    assert_eq!(missing["reason"], "no \"peer\" <here>");
    assert_eq!(row("changes.restart")["verdict"], "bar missed");
    let network_targets = TARGETS.iter().filter(|target| target.command == "network");
    assert_eq!(
        json["rows"].as_array().unwrap().len(),
        network_targets.count() + 2
    );
    let keys: Vec<_> = json["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key"])
        .collect();
    assert_eq!(
        keys.first().unwrap().as_str(),
        Some("network.resnet34.batch8")
    );
    assert!(
        keys.last().unwrap().is_null(),
        "rows without a bar are last"
    );
}

#[test]
fn a_smaller_measurement_is_not_judged() {
    let row = BenchRow::from_value(find_target("changes.moves"), 0.5, 500);
    assert_eq!(row.verdict_label(), "aim reached");
    let smaller = row.as_smaller("with 500 files");
    assert_eq!(smaller.verdict(), None);
    assert_eq!(smaller.to_json()["verdict"], "fewer files");
    assert_eq!(smaller.to_json()["ours"], 0.5);
}

#[test]
fn the_text_shows_every_row_and_reason() {
    let text = render_text(&sample_report());
    assert!(
        text.contains("ResNet-34, batch 8 ÷ ONNX Runtime, f32"),
        "{text}"
    );
    assert!(text.contains("  aim reached"), "{text}");
    assert!(
        text.contains("restart → ready at 43,000 rows: at <60> rows"),
        "{text}"
    );
    assert!(text.contains("  12 rows: no \"peer\" <here>"), "{text}");
    assert!(
        text.contains("1 aims reached, 0 bars reached, 1 bars missed"),
        "{text}"
    );
}

#[test]
fn the_page_is_self_contained_and_escapes_text() {
    let page = render_page(&sample_report());
    for escaped in [
        "at &lt;60&gt; rows",
        "models &lt;b&gt;",
        "a\"&lt;script&gt;",
        "at &lt;rest&gt;",
        "aria-label=\"latency of &lt;i&gt;\"",
        "weights are &lt;random&gt;",
        "no \"peer\" &lt;here&gt;",
        "decode &amp; resize",
    ] {
        assert!(
            page.contains(escaped) || page.contains(&escaped.replace('"', "&quot;")),
            "{escaped} is not in {page}"
        );
    }
    for raw in [
        "<script", "<b>", "<i>", "<rest>", "<60>", "<random>", "<here>", "http",
    ] {
        assert!(!page.contains(raw), "{raw} is in {page}");
    }
    assert!(page.contains("<polyline class=\"curve s0\""));
    assert_eq!(
        page.matches("class=\"bar ").count(),
        2,
        "one bar per measured target"
    );
}

#[test]
fn a_report_is_written_as_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    write_report(&sample_report(), &out).unwrap();
    let json = std::fs::read(out.join("report.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["command"], "network");
    assert!(out.join("report.html").is_file());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = write_report(&sample_report(), &file.join("below")).unwrap_err();
    assert!(format!("{error:#}").contains("cannot create"), "{error:#}");
}
