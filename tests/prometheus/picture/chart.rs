//! One panel as SVG: lines, stacked areas, or one number with a line in the background.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::queries::color_of;

/// Pixels of one of the dashboard's 24 columns, and of one of its units of height.
const COLUMN: f64 = 64.0;
const UNIT: f64 = 25.0;
const GAP: f64 = 4.0;

/// Colors of series without an override.
const COLORS: [&str; 5] = ["#5794f2", "#b877d9", "#ff9830", "#fade2a", "#8ab8ff"];

/// Grafana's named colors that the dashboard uses.
const NAMED: [(&str, &str); 23] = [
    ("green", "#73bf69"),
    ("light-green", "#96d98d"),
    ("super-light-green", "#c8f2c2"),
    ("yellow", "#fade2a"),
    ("orange", "#ff9830"),
    ("dark-orange", "#fa6400"),
    ("super-light-orange", "#ffcb7d"),
    ("red", "#f2495c"),
    ("light-red", "#ff7383"),
    ("super-light-red", "#ffa6b0"),
    ("semi-dark-red", "#e02f44"),
    ("dark-red", "#c4162a"),
    ("blue", "#5794f2"),
    ("light-blue", "#8ab8ff"),
    ("super-light-blue", "#c0d8ff"),
    ("semi-dark-blue", "#3274d9"),
    ("dark-blue", "#1f60c4"),
    ("purple", "#b877d9"),
    ("light-purple", "#ca95e5"),
    ("super-light-purple", "#deb6f2"),
    ("semi-dark-purple", "#a352cc"),
    ("dark-purple", "#8f3bb8"),
    ("text", "#ccccdc"),
];

/// Rows of a legend that are visible without scrolling, and its height in pixels.
const LEGEND_ROWS: usize = 4;
const LEGEND_HEIGHT: f64 = 74.0;

/// An annotation: its color, and the times from which to which it applied.
pub type Annotation = (String, Vec<(f64, f64)>);

/// A series: its name, and times with values.
pub type Series = (String, Vec<(f64, f64)>);

/// The position of a panel, and the format of its values.
pub struct Chart<'p> {
    panel: &'p Value,
    time: (f64, f64),
    place: [f64; 4],
    annotations: &'p [Annotation],
}

/// The area of the lines: pixels, and the value at the top.
struct Plot {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    most: f64,
    time: (f64, f64),
}

/// The size in pixels of a picture with this height in units.
pub fn size(height: u64) -> (u32, u32) {
    let height = f64::from(u32::try_from(height).unwrap()) * UNIT + GAP;
    let whole = |pixels: f64| format!("{pixels:.0}").parse().unwrap();
    (whole(24.0 * COLUMN + GAP), whole(height))
}

/// The whole picture.
pub fn page(panels: &str, height: u64) -> String {
    let (width, height) = size(height);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"DejaVu Sans, sans-serif\" font-size=\"11\" fill=\"#ccccdc\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#111217\"/>\n{panels}</svg>\n"
    )
}

/// The title of a row.
pub fn heading(row: &Value) -> String {
    let y = f64::from(u32::try_from(row["gridPos"]["y"].as_u64().unwrap()).unwrap());
    let title = escaped(row["title"].as_str().unwrap());
    format!("<text x=\"{GAP}\" y=\"{}\" font-size=\"14\">{title}</text>\n", y * UNIT + 19.0)
}

fn hex(color: &str) -> &'static str {
    let found = NAMED.iter().find(|(name, _)| *name == color);
    found.unwrap_or_else(|| panic!("add {color} to NAMED")).1
}

impl<'p> Chart<'p> {
    pub fn new(
        panel: &'p Value,
        (from, to): (Timestamp, Timestamp),
        annotations: &'p [Annotation],
    ) -> Self {
        let side = |name: &str| {
            f64::from(u32::try_from(panel["gridPos"][name].as_u64().unwrap()).unwrap())
        };
        let place = [
            side("x") * COLUMN + GAP,
            side("y") * UNIT + GAP,
            side("w") * COLUMN - GAP,
            side("h") * UNIT - GAP,
        ];
        let time = (from.as_duration().as_secs_f64(), to.as_duration().as_secs_f64());
        Self { panel, time, place, annotations }
    }

    pub fn draw(&self, series: &[Series]) -> String {
        let [x, y, width, height] = self.place;
        let mut svg = String::new();
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"#181b1f\"/>\n\
             <text x=\"{}\" y=\"{}\" font-size=\"13\" fill=\"#fff\">{}</text>",
            x + 10.0,
            y + 18.0,
            escaped(self.panel["title"].as_str().unwrap()),
        )
        .unwrap();
        if self.panel["type"] == "stat" {
            self.number(&mut svg, series);
        } else {
            self.lines(&mut svg, series);
        }
        svg
    }

    /// The dashboard's annotations: an area with a line at its beginning.
    fn annotations(&self, svg: &mut String, plot: &Plot) {
        for (color, times) in self.annotations {
            let color = hex(color);
            for (from, to) in times {
                let (from, to) = (plot.x(*from), plot.x(*to));
                let (top, height) = (plot.top, plot.height);
                writeln!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{height}\" \
                     fill=\"{color}\" fill-opacity=\"0.1\"/>\
                     <line x1=\"{from:.1}\" x2=\"{from:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"{color}\" \
                     stroke-dasharray=\"4 3\"/>",
                    to - from,
                    top + height,
                )
                .unwrap();
            }
        }
    }

    /// The last value, large, over the line of its history.
    fn number(&self, svg: &mut String, series: &[Series]) {
        let [x, y, width, height] = self.place;
        let values = series.first().map(|(_, values)| finite(values)).unwrap_or_default();
        let most = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let plot = Plot {
            left: x,
            top: y + height * 0.6,
            width,
            height: height * 0.4,
            most: most * 1.2,
            time: self.time,
        };
        let last = values.last().map_or("–".to_owned(), |(_, value)| self.formatted(*value));
        plot.area(svg, &values, &[], COLORS[0]);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" font-size=\"26\" text-anchor=\"middle\" fill=\"#fff\">{last}</text>",
            x + width / 2.0,
            y + height * 0.6,
        )
        .unwrap();
    }

    fn lines(&self, svg: &mut String, series: &[Series]) {
        let [x, y, width, height] = self.place;
        let stacked =
            self.panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal";
        let tops =
            if stacked { stack(series) } else { series.iter().map(|(_, it)| finite(it)).collect() };
        let most = tops.iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = grid_step(most);
        let plot = Plot {
            left: x + 52.0,
            top: y + 28.0,
            width: width - 62.0,
            height: height - 50.0 - LEGEND_HEIGHT,
            most: (most / step).ceil().max(1.0) * step,
            time: self.time,
        };
        self.axes(svg, &plot, step);
        self.annotations(svg, &plot);
        for (n, top) in tops.iter().enumerate().rev() {
            let below: &[(f64, f64)] = if stacked && n > 0 { &tops[n - 1] } else { &[] };
            let color = self.color(&series[n].0, n);
            if stacked {
                plot.area(svg, top, below, color);
            }
            plot.line(svg, top, color);
        }
        self.legend(svg, series);
    }

    fn axes(&self, svg: &mut String, plot: &Plot, step: f64) {
        let mut value = 0.0;
        while value <= plot.most * 1.001 {
            let y = plot.y(value);
            writeln!(
                svg,
                "<line x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#2c3035\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#9a9ba6\">{}</text>",
                plot.left,
                plot.left + plot.width,
                plot.left - 6.0,
                y + 4.0,
                self.formatted(value),
            )
            .unwrap();
            value += step;
        }
        let mut minute = 0.0;
        while plot.time.0 + minute * 60.0 <= plot.time.1 {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#9a9ba6\">{minute}:00</text>",
                plot.x(plot.time.0 + minute * 60.0),
                plot.top + plot.height + 16.0,
            )
            .unwrap();
            minute += 1.0;
        }
    }

    /// The series by their last value, as in Grafana's table, with last value and maximum.
    fn legend(&self, svg: &mut String, series: &[Series]) {
        let [left, top, width, height] = self.place;
        let mut rows: Vec<_> = series
            .iter()
            .enumerate()
            .map(|(n, (name, values))| {
                let values = finite(values);
                let last = values.last().map_or(f64::NAN, |(_, value)| *value);
                let most = values.iter().map(|(_, value)| *value).fold(f64::NAN, f64::max);
                (name, n, last, most)
            })
            .collect();
        rows.sort_by(|(_, _, one, _), (_, _, other, _)| other.total_cmp(one));
        let mut y = top + height - LEGEND_HEIGHT + 12.0;
        let columns = [left + width - 80.0, left + width - 12.0];
        for (x, heading) in columns.iter().zip(["Last *", "Max"]) {
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" fill=\"#6e9fff\">{heading}</text>"
            )
            .unwrap();
        }
        let hidden = rows.len().saturating_sub(LEGEND_ROWS);
        for (name, n, last, most) in rows.into_iter().take(LEGEND_ROWS) {
            y += 14.0;
            writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{y}\">{}</text>",
                left + 10.0,
                y - 5.0,
                self.color(name, n),
                left + 24.0,
                escaped(name),
            )
            .unwrap();
            for (x, value) in columns.iter().zip([last, most]) {
                let value = self.formatted(value);
                writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{value}</text>")
                    .unwrap();
            }
        }
        if hidden > 0 {
            let y = top + height - LEGEND_HEIGHT + 12.0;
            let x = left + 10.0;
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"#9a9ba6\">{hidden} more below</text>")
                .unwrap();
        }
    }

    /// The color of the override that matches the series.
    fn color(&self, series: &str, n: usize) -> &'static str {
        color_of(self.panel, series).map_or(COLORS[n % COLORS.len()], hex)
    }

    /// A value in the panel's unit.
    fn formatted(&self, value: f64) -> String {
        let unit = self.panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        match unit {
            "s" if value == 0.0 => "0 s".to_owned(),
            "s" if value >= 86_400.0 => format!("{} d", short(value / 86_400.0)),
            "s" if value < 0.001 => format!("{} µs", short(value * 1e6)),
            "s" if value < 1.0 => format!("{} ms", short(value * 1e3)),
            "s" => format!("{} s", short(value)),
            "percentunit" => format!("{} %", short(value * 100.0)),
            "reqps" | "cps" => format!("{}/s", short(value)),
            "bytes" => format!("{} MiB", short(value / 1_048_576.0)),
            _ => short(value),
        }
    }
}

impl Plot {
    fn x(&self, time: f64) -> f64 {
        self.left + (time - self.time.0) / (self.time.1 - self.time.0) * self.width
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height - value / self.most * self.height
    }

    fn points<'v>(&self, values: impl Iterator<Item = &'v (f64, f64)>) -> String {
        values.fold(String::new(), |mut points, (time, value)| {
            write!(points, "{:.1},{:.1} ", self.x(*time), self.y(*value)).unwrap();
            points
        })
    }

    fn line(&self, svg: &mut String, values: &[(f64, f64)], color: &str) {
        let points = self.points(values.iter());
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.3\"/>"
        )
        .unwrap();
    }

    /// The area between `below`, or zero, and the values.
    fn area(&self, svg: &mut String, values: &[(f64, f64)], below: &[(f64, f64)], color: &str) {
        let base: Vec<_> = match below {
            [] => values.iter().map(|(time, _)| (*time, 0.0)).collect(),
            below => below.to_vec(),
        };
        let points = self.points(values.iter().chain(base.iter().rev()));
        writeln!(svg, "<polygon points=\"{points}\" fill=\"{color}\" fill-opacity=\"0.35\"/>")
            .unwrap();
    }
}

fn finite(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    values.iter().filter(|(_, value)| value.is_finite()).copied().collect()
}

/// Stacks each series on the previous ones, at all times of any series.
fn stack(series: &[Series]) -> Vec<Vec<(f64, f64)>> {
    let mut times: Vec<f64> =
        series.iter().flat_map(|(_, it)| it.iter().map(|(t, _)| *t)).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let mut tops: Vec<Vec<(f64, f64)>> = Vec::new();
    for (_, values) in series {
        let own = |time: f64| {
            values.iter().find(|(t, _)| t.total_cmp(&time).is_eq()).map_or(0.0, |(_, value)| *value)
        };
        let below = |n: usize| tops.last().map_or(0.0, |below| below[n].1);
        let top =
            times.iter().enumerate().map(|(n, time)| (*time, below(n) + own(*time))).collect();
        tops.push(top);
    }
    tops
}

/// The distance of grid lines: one, two or five times a power of ten, with at most five lines.
fn grid_step(most: f64) -> f64 {
    let rough = (most / 4.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= rough).unwrap_or(power)
}

/// With three digits.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
