//! What a score is worth: how many of the neighbours of some cosine, or of some band, are right.
//!
//! Only pictures that were asked as pictures are counted, since bands speak of two pictures.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How wide a step of the curve is.
const STEP_WIDTH: f64 = 0.05;

/// Steps from −1 to 1.
const STEP_COUNT: usize = 40;

/// A step with fewer neighbours than this says nothing and is not drawn.
const MIN_DRAWN_HITS: u64 = 10;

/// The bands, best first, as the service names them.
const BANDS: [(&str, &str); 5] = [
    ("same_picture", "same picture"),
    ("near_duplicate", "near-duplicate"),
    ("very_similar", "very similar"),
    ("similar", "similar"),
    ("no_match", "no good match"),
];

/// One neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedNeighbour {
    /// Cosine to the query.
    pub score: f64,
    /// Of the query's class.
    pub is_right: bool,
    /// As the service named it, where the model has bands.
    pub band: Option<String>,
}

/// How many neighbours there are of something, and how many of them are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HitShare {
    /// All.
    pub hits: u64,
    /// Those of the query's class.
    pub right: u64,
}

impl HitShare {
    fn count_hit(&mut self, is_right: bool) {
        self.hits += 1;
        self.right += u64::from(is_right);
    }

    /// Right ones among all; none where there are none.
    fn right_share(self) -> Option<f64> {
        (self.hits > 0).then(|| self.right as f64 / self.hits as f64)
    }
}

/// The neighbours by their score and by their band.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    steps: Vec<HitShare>,
    bands: Vec<HitShare>,
    has_bands: bool,
    /// The least score that was seen of each band.
    band_minimums: Vec<Option<f64>>,
}

impl Calibration {
    /// Counts.
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

    /// The bands with a neighbour at least: words, and how many.
    fn band_rows(&self) -> impl Iterator<Item = (&'static str, HitShare)> {
        let rows = BANDS.iter().zip(&self.bands);
        rows.map(|((_, words), share)| (*words, *share))
            .filter(|(_, share)| share.hits > 0)
    }

    /// A table for a terminal; empty where nothing was counted or the model has no bands.
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

    /// For programs.
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

    /// A section with the curve and the bands; nothing where nothing was counted.
    pub fn to_html(&self, k: usize) -> String {
        let all: u64 = self.steps.iter().map(|share| share.hits).sum();
        if all == 0 {
            return String::new();
        }
        let mut html = format!(
            "<section><h2>Scores</h2>\n<p>Of the first {k} neighbours of every picture, by their \
             cosine: how many there are (bars), and how many of those are right (line).</p>\n{}",
            self.plot_svg()
        );
        if self.has_bands {
            html.push_str(
                "<table><thead><tr><th>band</th><th>hits</th><th>right</th></tr></thead><tbody>",
            );
            for (words, share) in self.band_rows() {
                let right = share.right_share().unwrap_or_default();
                let _ = writeln!(
                    html,
                    "<tr><td>{words}</td><td>{}</td><td>{right:.3}</td></tr>",
                    share.hits
                );
            }
            html.push_str("</tbody></table>");
        }
        html.push_str("</section>\n");
        html
    }

    /// 360 × 200 units: cosine from the first step that is counted to 1, right share upwards.
    fn plot_svg(&self) -> String {
        const WIDTH: f64 = 360.0;
        const HEIGHT: f64 = 200.0;
        const LEFT: f64 = 30.0;
        const BOTTOM: f64 = 20.0;
        let first = self.steps.iter().position(|share| share.hits > 0);
        let first = first.unwrap_or(STEP_COUNT - 1);
        let x = |score: f64| {
            let low = step_start(first);
            LEFT + (score - low) / (1.0 - low) * (WIDTH - LEFT)
        };
        let y = |share: f64| (1.0 - share) * (HEIGHT - BOTTOM);
        let most = self.steps.iter().map(|share| share.hits).max().unwrap_or(1);
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"-10 -10 {} {}\" role=\"img\" aria-label=\"share of right \
             neighbours by cosine\">",
            WIDTH + 30.0,
            HEIGHT + 12.0
        );
        let mut line = String::new();
        for (step, share) in self.steps.iter().enumerate().skip(first) {
            let (from, to) = (x(step_start(step)), x(step_start(step) + STEP_WIDTH));
            let top = y(share.hits as f64 / most as f64);
            let _ = write!(
                svg,
                "<rect class=\"bar\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\"><title>{:.2} to {:.2}: {} neighbours</title></rect>",
                (to - from - 1.0).max(0.5),
                HEIGHT - BOTTOM - top,
                step_start(step),
                step_start(step) + STEP_WIDTH,
                share.hits
            );
            if let Some(right) = share.right_share().filter(|_| share.hits >= MIN_DRAWN_HITS) {
                let _ = write!(line, "{:.1},{:.1} ", f64::midpoint(from, to), y(right));
            }
        }
        for ((_, words), minimum) in BANDS.iter().zip(&self.band_minimums).take(BANDS.len() - 1) {
            if let Some(least) = minimum {
                let at = x(*least);
                let _ = write!(
                    svg,
                    "<line class=\"band\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{:.0}\">\
                     <title>{words} from {least:.2}</title></line>",
                    HEIGHT - BOTTOM
                );
            }
        }
        let _ = write!(svg, "<polyline class=\"curve\" points=\"{line}\"/>");
        for share in [0.0, 0.5, 1.0] {
            let _ = write!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{:.0} %</text>",
                LEFT - 4.0,
                y(share) + 4.0,
                share * 100.0
            );
        }
        for score in [
            step_start(first),
            f64::midpoint(step_start(first), 1.0),
            1.0,
        ] {
            let _ = write!(
                svg,
                "<text x=\"{:.0}\" y=\"{HEIGHT:.0}\" text-anchor=\"middle\">{score:.2}</text>",
                x(score)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Where a step begins, without what adding up would leave.
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
        let found = Calibration::from_judged(all.iter());
        let json = found.to_json();
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
        let text = found.to_text(10);
        assert!(text.contains("similar"), "{text}");
        assert!(text.contains("0.500"), "{text}");
        assert!(
            !text.contains("very similar"),
            "no neighbour is that: {text}"
        );
        let html = found.to_html(10);
        assert!(html.contains("near-duplicate from 0.97"), "{html}");
    }

    #[test]
    fn without_bands_only_the_curve_is_drawn() {
        let many: Vec<JudgedNeighbour> = (0..40)
            .map(|n| judged_neighbour(0.5, n % 4 == 0, None))
            .collect();
        let found = Calibration::from_judged(many.iter());
        assert_eq!(found.to_text(10), "");
        let html = found.to_html(10);
        assert!(
            !html.contains("<table>") && html.contains("<polyline"),
            "{html}"
        );
        // A quarter is right: three quarters down a plot of 180 units.
        assert!(html.contains(",135.0 "), "{html}");
        assert_eq!(Calibration::from_judged([].iter()).to_html(10), "");
    }
}
