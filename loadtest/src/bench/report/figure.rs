//! Curves of a report.

use serde_json::{Value, json};

/// A plot with one or more curves.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFigure {
    pub title: String,
    pub kind: FigureKind,
    pub x_label: String,
    pub y_label: String,
    pub series: Vec<FigureSeries>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// x is a percentile, 0 to 100. The axis shows 90 %, 99 % and 99.9 % at equal distances.
    Percentiles,
    /// Points joined by lines.
    Lines,
    /// Points only.
    Scatter,
}

/// The points of one curve.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureSeries {
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

impl ReportFigure {
    pub fn to_json(&self) -> Value {
        let series: Vec<Value> = self
            .series
            .iter()
            .map(|series| json!({"name": series.name, "points": series.points}))
            .collect();
        let kind = match self.kind {
            FigureKind::Percentiles => "percentiles",
            FigureKind::Lines => "lines",
            FigureKind::Scatter => "scatter",
        };
        json!({
            "title": self.title,
            "kind": kind,
            "x": self.x_label,
            "y": self.y_label,
            "series": series,
        })
    }
}
