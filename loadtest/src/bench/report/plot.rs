//! Draws plots as inline SVG.

use maud::{Markup, html};

use super::figure::{FigureKind, ReportFigure};
use super::row::BenchRow;
use super::text::{format_number, row_title};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Number of colours in the style sheet.
const SERIES_COLOURS: usize = 6;

/// Percentiles with a mark on the axis.
const PERCENTILE_MARKS: [f64; 6] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99];

/// When the largest value is more than so many times the smallest one, the y axis is logarithmic.
const LOG_SPREAD: f64 = 50.0;

/// Maps values to pixels along one axis.
#[derive(Debug, Clone, Copy)]
struct PlotAxis {
    low: f64,
    high: f64,
    is_log: bool,
    from: f64,
    to: f64,
}

impl PlotAxis {
    fn place(self, value: f64) -> f64 {
        let scale = |value: f64| match self.is_log {
            true => value.max(f64::MIN_POSITIVE).log10(),
            false => value,
        };
        let (low, high) = (scale(self.low), scale(self.high));
        let share = (scale(value) - low) / (high - low).max(1e-12);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Returns four to eight round values.
    fn marks(self) -> Vec<f64> {
        if self.is_log {
            let (first, last) = (
                self.low.log10().floor() as i32,
                self.high.log10().ceil() as i32,
            );
            let steps: &[f64] = if last - first <= 2 {
                &[1.0, 2.0, 5.0]
            } else {
                &[1.0]
            };
            return (first..=last)
                .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
                .filter(|mark| (self.low..=self.high).contains(mark))
                .collect();
        }
        let step = round_step((self.high - self.low) / 6.0);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    if !step.is_finite() || step <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// Maps a percentile to the place on an axis where every further nine has the same length.
fn nines_of(percentile: f64) -> f64 {
    -(1.0 - (percentile / 100.0).clamp(0.0, 0.999_999)).log10()
}

/// Maps an x of a figure to its value on the axis.
fn x_value(figure: &ReportFigure, x: f64) -> f64 {
    match figure.kind {
        FigureKind::Percentiles => nines_of(x),
        _ => x,
    }
}

/// Returns both axes; `None` for a figure without points.
fn axes_of(figure: &ReportFigure) -> Option<(PlotAxis, PlotAxis)> {
    let points = || figure.series.iter().flat_map(|series| &series.points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let values = values.filter(|value| value.is_finite());
        values.fold(None, |range: Option<(f64, f64)>, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
    };
    let (x_low, x_high) = range(&mut points().map(|(x, _)| x_value(figure, *x)))?;
    let (y_low, y_high) = range(&mut points().map(|(_, y)| *y))?;
    let is_scatter = figure.kind == FigureKind::Scatter;
    let is_log = !is_scatter && y_low > 0.0 && y_high / y_low > LOG_SPREAD;
    let margin = (y_high - y_low).max(y_high.abs() * 0.05).max(1e-9) * 0.06;
    let (low, high) = match (is_log, is_scatter) {
        (true, _) => (y_low * 0.9, y_high * 1.1),
        (false, true) => (y_low - margin, y_high + margin),
        (false, false) => (y_low.min(0.0), y_high + margin),
    };
    let x = PlotAxis {
        low: x_low,
        high: x_high,
        is_log: false,
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let y = PlotAxis {
        low,
        high,
        is_log,
        from: HEIGHT - BOTTOM,
        to: TOP,
    };
    Some((x, y))
}

/// Returns the marks of the x axis with their labels.
fn x_marks(figure: &ReportFigure, x: PlotAxis) -> Vec<(f64, String)> {
    match figure.kind {
        FigureKind::Percentiles => PERCENTILE_MARKS
            .into_iter()
            .filter(|mark| nines_of(*mark) <= x.high)
            .map(|mark| (nines_of(mark), format!("{mark} %")))
            .collect(),
        _ => x
            .marks()
            .into_iter()
            .map(|mark| (mark, format_number(mark)))
            .collect(),
    }
}

/// Draws curves with axes and a legend.
pub(super) fn draw_figure(figure: &ReportFigure) -> Markup {
    let Some((x, y)) = axes_of(figure) else {
        return html! { p { "no points" } };
    };
    html! {
        svg class="plot" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(figure.title) {
            @for mark in y.marks() {
                (draw_line("grid", [LEFT, y.place(mark), WIDTH - RIGHT, y.place(mark)]))
                (draw_text("end", LEFT - 6.0, y.place(mark) + 4.0, &format_number(mark)))
            }
            @for (at, label) in &x_marks(figure, x) {
                (draw_line("grid", [x.place(*at), TOP, x.place(*at), HEIGHT - BOTTOM]))
                (draw_text("middle", x.place(*at), HEIGHT - BOTTOM + 16.0, label))
            }
            (draw_text("middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0, &figure.x_label))
            text class="axis" x="12" y=(HEIGHT / 2.0) text-anchor="middle"
                transform={ "rotate(-90 12 " (HEIGHT / 2.0) ")" } { (figure.y_label) }
            @for number in 0..figure.series.len() {
                (draw_series(figure, number, x, y))
            }
        }
        p class="legend" {
            @for (number, series) in figure.series.iter().enumerate() {
                span { i class={ "key s" (number % SERIES_COLOURS) } {} (series.name) }
            }
        }
    }
}

fn draw_series(figure: &ReportFigure, number: usize, x: PlotAxis, y: PlotAxis) -> Markup {
    let series = &figure.series[number];
    let colour = number % SERIES_COLOURS;
    let points = series.points.iter().filter(|(_, y)| y.is_finite());
    let places: Vec<(f64, f64)> = points
        .clone()
        .map(|(px, py)| (x.place(x_value(figure, *px)), y.place(*py)))
        .collect();
    let path: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    html! {
        @if figure.kind != FigureKind::Scatter {
            polyline class={ "curve s" (colour) } points=(path.join(" ")) {}
        }
        @if figure.kind == FigureKind::Scatter || places.len() == 1 {
            @for ((at_x, at_y), (px, py)) in places.iter().zip(points) {
                circle class={ "dot s" (colour) } cx=(format!("{at_x:.1}")) cy=(format!("{at_y:.1}")) r="4" {
                    title { (series.name) ": " (format_number(*px)) ", " (format_number(*py)) }
                }
            }
        }
    }
}

const BAR_HEIGHT: f64 = 22.0;
const LABEL_WIDTH: f64 = 330.0;
const BARS_WIDTH: f64 = 900.0;

/// Draws the judged value of every row relative to its bar, on a logarithmic axis, with the aim.
pub(super) fn draw_bars(rows: &[BenchRow]) -> Markup {
    let drawn: Vec<(&BenchRow, f64, f64)> = rows
        .iter()
        .filter_map(|row| {
            let (target, value) = (row.target?, row.judged_value()?);
            let relative = target.relative_to_bar(value);
            let is_drawable = relative.is_finite() && relative > 0.0;
            is_drawable.then(|| (row, relative, target.relative_to_bar(target.aim)))
        })
        .collect();
    if drawn.is_empty() {
        return html! {};
    }
    let values = || drawn.iter().flat_map(|(_, value, aim)| [*value, *aim]);
    let axis = PlotAxis {
        low: values().fold(0.5, f64::min) * 0.9,
        high: values().fold(2.0, f64::max) * 1.1,
        is_log: true,
        from: LABEL_WIDTH,
        to: BARS_WIDTH - 60.0,
    };
    let height = drawn.len() as f64 * BAR_HEIGHT + 30.0;
    let bottom = height - 24.0;
    let bar_line = axis.place(1.0);
    html! {
        svg class="plot bars" viewBox={ "0 0 " (BARS_WIDTH) " " (height) } role="img"
            aria-label="Measured values relative to their bars" {
            @for mark in axis.marks() {
                (draw_line("grid", [axis.place(mark), 0.0, axis.place(mark), bottom]))
                (draw_text("middle", axis.place(mark), height - 8.0, &format!("{}×", format_number(mark))))
            }
            @for (number, (row, relative, aim)) in drawn.iter().enumerate() {
                @let top = number as f64 * BAR_HEIGHT;
                @let (from, to) = (bar_line.min(axis.place(*relative)), bar_line.max(axis.place(*relative)));
                @let class = if *relative >= *aim { "good" } else if *relative >= 1.0 { "fair" } else { "bad" };
                (draw_text("start", 0.0, top + 16.0, &shorten_label(&row_title(row))))
                rect class={ "bar " (class) } x=(format!("{from:.1}")) y=(top + 4.0)
                    width=(format!("{:.1}", (to - from).max(1.0))) height=(BAR_HEIGHT - 8.0) {
                    title { (row_title(row)) }
                }
                (draw_line("aim", [axis.place(*aim), top + 2.0, axis.place(*aim), top + BAR_HEIGHT - 2.0]))
                (draw_text("start", to.max(axis.place(*aim)) + 6.0, top + 16.0, &format_number(row.judged_value().unwrap_or(f64::NAN))))
            }
            (draw_line("limit", [bar_line, 0.0, bar_line, bottom]))
        }
    }
}

/// Shortens a label to what fits left of the bars.
fn shorten_label(label: &str) -> String {
    const MAX_LETTERS: usize = 56;
    if label.chars().count() <= MAX_LETTERS {
        return label.to_owned();
    }
    let start: String = label.chars().take(MAX_LETTERS - 1).collect();
    format!("{}…", start.trim_end())
}

fn draw_line(class: &str, [x1, y1, x2, y2]: [f64; 4]) -> Markup {
    let place = |value: f64| format!("{value:.1}");
    html! {
        line class=(class) x1=(place(x1)) y1=(place(y1)) x2=(place(x2)) y2=(place(y2)) {}
    }
}

fn draw_text(anchor: &str, x: f64, y: f64, text: &str) -> Markup {
    html! {
        text x=(format!("{x:.1}")) y=(format!("{y:.1}")) text-anchor=(anchor) { (text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nine_has_the_same_length() {
        assert_eq!(nines_of(0.0), 0.0);
        for (percentile, nines) in [(90.0, 1.0), (99.0, 2.0), (99.9, 3.0)] {
            assert!((nines_of(percentile) - nines).abs() < 1e-9);
        }
        assert!(nines_of(100.0).is_finite());
    }

    #[test]
    fn axes_have_round_marks() {
        assert_eq!(round_step(0.13), 0.2);
        assert_eq!(round_step(7.0), 10.0);
        assert_eq!(round_step(0.0), 1.0);
        let axis = PlotAxis {
            low: 0.0,
            high: 11.0,
            is_log: false,
            from: 0.0,
            to: 110.0,
        };
        assert_eq!(axis.marks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(axis.place(5.5), 55.0);
        let log = PlotAxis {
            low: 0.9,
            high: 1100.0,
            is_log: true,
            from: 0.0,
            to: 3.0,
        };
        assert_eq!(log.marks(), [1.0, 10.0, 100.0, 1000.0]);
    }
}
