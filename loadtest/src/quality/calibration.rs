//! Calibration of scores: the share of right neighbours for each cosine and for each band.
//!
//! Only searches by an indexed picture count, because bands describe pairs of pictures.

use std::fmt::Write as _;

use maud::{Markup, html};
use serde_json::{Value, json};

/// Width of one step of the curve, in cosine.
const STEP_WIDTH: f64 = 0.05;

/// Number of steps from −1 to 1.
const STEP_COUNT: usize = 40;

/// A step with fewer neighbours has no significance and is not drawn.
const MIN_DRAWN_HITS: u64 = 10;

/// Keys of the service and labels of all bands, best first.
const BANDS: [(&str, &str); 6] = [
    ("same_picture", "same picture"),
    (TURNED_COPY, "turned copy"),
    ("near_duplicate", "near-duplicate"),
    ("very_similar", "very similar"),
    ("similar", "similar"),
    ("no_match", "no good match"),
];

/// The only band that no range of scores has.
const TURNED_COPY: &str = "turned_copy";

/// Returns the label of a band, or its key if it is unknown.
pub fn label_band(key: &str) -> &str {
    let known = BANDS.iter().find(|(known, _)| *known == key);
    known.map_or(key, |(_, label)| label)
}

#[derive(Debug, Clone, PartialEq)]
pub struct JudgedNeighbour {
    /// Cosine to the query.
    pub score: f64,
    /// Whether the neighbour belongs to the query's class.
    pub is_right: bool,
    /// Key of the band, if the model has bands.
    pub band: Option<String>,
}

/// A number of neighbours, and how many of them are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HitShare {
    pub hits: u64,
    /// Number of hits that belong to the query's class.
    pub right: u64,
}

impl HitShare {
    fn count_hit(&mut self, is_right: bool) {
        self.hits += 1;
        self.right += u64::from(is_right);
    }

    /// Returns the share of right hits; `None` without hits.
    fn right_share(self) -> Option<f64> {
        (self.hits > 0).then(|| self.right as f64 / self.hits as f64)
    }
}

/// Numbers of neighbours by score and by band.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    steps: Vec<HitShare>,
    bands: Vec<HitShare>,
    has_bands: bool,
    /// The lowest score that was seen of each band.
    band_minimums: Vec<Option<f64>>,
}

impl Calibration {
    pub fn from_judged<'a>(judged: impl Iterator<Item = &'a JudgedNeighbour>) -> Self {
        let mut calibration = Self {
            steps: vec![HitShare::default(); STEP_COUNT],
            bands: vec![HitShare::default(); BANDS.len()],
            band_minimums: vec![None; BANDS.len()],
            has_bands: false,
        };
        for neighbour in judged {
            let step = ((neighbour.score + 1.0) / STEP_WIDTH).floor().max(0.0) as usize;
            calibration.steps[step.min(STEP_COUNT - 1)].count_hit(neighbour.is_right);
            let named = |band: &String| BANDS.iter().position(|(key, _)| key == band);
            if let Some(band) = neighbour.band.as_ref().and_then(named) {
                calibration.has_bands = true;
                calibration.bands[band].count_hit(neighbour.is_right);
                let begin = calibration.band_minimums[band].get_or_insert(neighbour.score);
                *begin = begin.min(neighbour.score);
            }
        }
        calibration
    }

    /// Returns label and numbers of every band that has hits.
    fn band_rows(&self) -> impl Iterator<Item = (&'static str, HitShare)> {
        let rows = BANDS.iter().zip(&self.bands);
        rows.map(|((_, words), share)| (*words, *share))
            .filter(|(_, share)| share.hits > 0)
    }

    /// Formats a table for a terminal; empty if the model has no bands.
    pub fn to_text(&self, k: usize) -> String {
        let mut text = String::new();
        if self.has_bands {
            let head = format!("the first {k} neighbours, by band");
            let _ = writeln!(text, "{head:<46} {:>8} {:>10}", "hits", "right");
            for (words, share) in self.band_rows() {
                let right = share.right_share().unwrap_or_default();
                let _ = writeln!(text, "{words:<46} {:>8} {right:>10.3}", share.hits);
            }
        }
        text
    }

    pub fn to_json(&self) -> Value {
        let row = |share: &HitShare| json!({"hits": share.hits, "right": share.right});
        let with = |mut row: Value, key: &str, value: Value| {
            row[key] = value;
            row
        };
        let steps = self.steps.iter().enumerate();
        let steps: Vec<Value> = steps
            .filter(|(_, share)| share.hits > 0)
            .map(|(step, share)| with(row(share), "from", json!(step_start(step))))
            .collect();
        let bands = BANDS.iter().zip(&self.bands);
        let bands: Vec<Value> = bands
            .filter(|(_, share)| share.hits > 0)
            .map(|((key, _), share)| with(row(share), "band", json!(key)))
            .collect();
        json!({"step": STEP_WIDTH, "scores": steps, "bands": bands})
    }

    /// Renders a section with the curve and the bands; empty if nothing was counted.
    pub fn to_html(&self, k: usize) -> Markup {
        let hits: u64 = self.steps.iter().map(|share| share.hits).sum();
        html! {
            @if hits > 0 {
                section {
                    h2 { "Scores" }
                    p {
                        "The first " (k) " neighbours of every picture by cosine: their number (bars) and the \
                         share that is right (line)."
                    }
                    (self.plot_svg())
                    @if self.has_bands {
                        table {
                            thead { tr { th { "band" } th { "hits" } th { "right" } } }
                            tbody {
                                @for (label, share) in self.band_rows() {
                                    tr {
                                        td { (label) }
                                        td { (share.hits) }
                                        td { (format!("{:.3}", share.right_share().unwrap_or_default())) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Draws the curve: cosine from the first counted step to 1, and the right share upwards.
    fn plot_svg(&self) -> Markup {
        let first = self.steps.iter().position(|share| share.hits > 0);
        let plot = Plot {
            low: step_start(first.unwrap_or(STEP_COUNT - 1)),
        };
        let steps = || {
            self.steps
                .iter()
                .enumerate()
                .skip(first.unwrap_or(STEP_COUNT - 1))
        };
        let max_hits = self.steps.iter().map(|share| share.hits).max().unwrap_or(1);
        let points: String = steps()
            .filter(|(_, share)| share.hits >= MIN_DRAWN_HITS)
            .filter_map(|(step, share)| Some((step, share.right_share()?)))
            .map(|(step, right)| plot.format_point(step_start(step) + STEP_WIDTH / 2.0, right))
            .collect();
        let worst_band = BANDS.len() - 1;
        let bands = BANDS.iter().zip(&self.band_minimums).take(worst_band);
        html! {
            svg class="plot" viewBox=(format!("-10 -10 {} {}", Plot::WIDTH + 30.0, Plot::HEIGHT + 12.0))
                role="img" aria-label="share of right neighbours by cosine" {
                @for (step, share) in steps() {
                    (plot.render_bar(step, share.hits, max_hits))
                }
                @for ((key, label), minimum) in bands {
                    @if let Some(minimum) = minimum && *key != TURNED_COPY {
                        (plot.render_band(label, *minimum))
                    }
                }
                polyline class="curve" points=(points) {}
                @for share in [0.0, 0.5, 1.0] {
                    text x=(format!("{:.0}", Plot::LEFT - 4.0)) y=(format!("{:.0}", plot.y(share) + 4.0))
                        text-anchor="end" { (format!("{:.0} %", share * 100.0)) }
                }
                @for score in [plot.low, f64::midpoint(plot.low, 1.0), 1.0] {
                    text x=(format!("{:.0}", plot.x(score))) y=(format!("{:.0}", Plot::HEIGHT))
                        text-anchor="middle" { (format!("{score:.2}")) }
                }
            }
        }
    }
}

/// Coordinates of the curve, in units of the SVG.
struct Plot {
    /// Cosine at the left edge.
    low: f64,
}

impl Plot {
    const WIDTH: f64 = 360.0;
    const HEIGHT: f64 = 200.0;
    const LEFT: f64 = 30.0;
    const BOTTOM: f64 = 20.0;

    fn x(&self, score: f64) -> f64 {
        Self::LEFT + (score - self.low) / (1.0 - self.low) * (Self::WIDTH - Self::LEFT)
    }

    fn y(&self, share: f64) -> f64 {
        (1.0 - share) * (Self::HEIGHT - Self::BOTTOM)
    }

    fn format_point(&self, score: f64, share: f64) -> String {
        format!("{:.1},{:.1} ", self.x(score), self.y(share))
    }

    fn render_bar(&self, step: usize, hits: u64, max_hits: u64) -> Markup {
        let (from, to) = (step_start(step), step_start(step) + STEP_WIDTH);
        let (left, right) = (self.x(from), self.x(to));
        let top = self.y(hits as f64 / max_hits as f64);
        html! {
            rect class="bar" x=(format!("{left:.1}")) y=(format!("{top:.1}"))
                width=(format!("{:.1}", (right - left - 1.0).max(0.5)))
                height=(format!("{:.1}", Self::HEIGHT - Self::BOTTOM - top)) {
                title { (format!("{from:.2} to {to:.2}: {hits} neighbours")) }
            }
        }
    }

    /// Marks the lowest score that was seen of a band.
    fn render_band(&self, label: &str, minimum: f64) -> Markup {
        let x = format!("{:.1}", self.x(minimum));
        html! {
            line class="band" x1=(x) x2=(x) y1="0" y2=(format!("{:.0}", Self::HEIGHT - Self::BOTTOM)) {
                title { (format!("{label} from {minimum:.2}")) }
            }
        }
    }
}

/// Returns the cosine where a step starts, without accumulated rounding errors.
fn step_start(step: usize) -> f64 {
    (step as f64 - (STEP_COUNT / 2) as f64) / (STEP_COUNT / 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged_neighbour(score: f64, is_right: bool, band: Option<&str>) -> JudgedNeighbour {
        JudgedNeighbour {
            score,
            is_right,
            band: band.map(str::to_owned),
        }
    }

    #[test]
    fn neighbours_are_counted_by_score_and_band() {
        let all = [
            judged_neighbour(0.97, true, Some("near_duplicate")),
            judged_neighbour(0.62, true, Some("similar")),
            judged_neighbour(0.61, false, Some("similar")),
            judged_neighbour(1.0, true, Some("same_picture")),
            judged_neighbour(-1.0, false, Some("no_match")),
        ];
        let calibration = Calibration::from_judged(all.iter());
        let json = calibration.to_json();
        assert_eq!(
            json["bands"][2],
            json!({"band": "similar", "hits": 2, "right": 1})
        );
        assert_eq!(
            json["scores"][0],
            json!({"from": -1.0, "hits": 1, "right": 0})
        );
        assert_eq!(
            json["scores"][1],
            json!({"from": 0.6, "hits": 2, "right": 1})
        );
        assert_eq!(
            json["scores"][2],
            json!({"from": 0.95, "hits": 2, "right": 2})
        );
        let text = calibration.to_text(10);
        assert!(text.contains("similar"), "{text}");
        assert!(text.contains("0.500"), "{text}");
        assert!(
            !text.contains("very similar"),
            "no neighbour is that: {text}"
        );
        let html = calibration.to_html(10).into_string();
        assert!(html.contains("near-duplicate from 0.97"), "{html}");
    }

    #[test]
    fn without_bands_only_the_curve_is_drawn() {
        let many: Vec<JudgedNeighbour> = (0..40)
            .map(|n| judged_neighbour(0.5, n % 4 == 0, None))
            .collect();
        let calibration = Calibration::from_judged(many.iter());
        assert_eq!(calibration.to_text(10), "");
        let html = calibration.to_html(10).into_string();
        assert!(
            !html.contains("<table>") && html.contains("<polyline"),
            "{html}"
        );
        // A quarter is right, so the curve is at three quarters of the 180 units from the top.
        assert!(html.contains(",135.0 "), "{html}");
        assert_eq!(
            Calibration::from_judged([].iter())
                .to_html(10)
                .into_string(),
            ""
        );
    }
}
