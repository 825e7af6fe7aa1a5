//! Draws the ratios to bare actix-web as bars, with the goals as marks, in an SVG.

use std::fmt::Write as _;

use super::report::{Figure, Goal};

/// Pixels.
const WIDTH: f64 = 820.0;
const LABELS: f64 = 400.0;
const BAR: f64 = 16.0;
const LINE: f64 = 28.0;
const TOP: f64 = 46.0;
const RIGHT: f64 = 50.0;

/// Draws the figures that have a ratio.
pub fn svg(figures: &[Figure]) -> String {
    let bars: Vec<_> =
        figures.iter().filter_map(|it| Some((&it.what, it.ratio?, it.limit))).collect();
    let limit = |limit: &Option<Goal>| match limit {
        Some(Goal::AtMost(value) | Goal::AtLeast(value)) => *value,
        None => 1.0,
    };
    let most = bars.iter().map(|(_, ratio, goal)| ratio.max(limit(goal))).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - RIGHT) / most;
    let height = TOP + LINE * f64::from(u32::try_from(bars.len()).unwrap());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">juspay-bff ÷ bare actix-web (gray line: 1; \
         black marks: goals)</text>\n"
    );
    let mut y = TOP - 10.0;
    for (what, ratio, goal) in &bars {
        let (text, width) = (y + 13.0, ratio * scale);
        let color = color(*ratio, *goal);
        writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{text}\" text-anchor=\"end\">{what}</text>\n\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" \
             fill=\"{color}\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{ratio:.2}</text>",
            LABELS - 8.0,
            LABELS + width + 6.0,
        )
        .unwrap();
        if goal.is_some() {
            mark(&mut svg, LABELS + limit(goal) * scale, y - 3.0, BAR + 6.0, "black");
        }
        y += LINE;
    }
    mark(&mut svg, LABELS + scale, TOP - 14.0, height - TOP + 6.0, "#999");
    svg + "</svg>\n"
}

/// Green if the goal is met, red if not, gray without a goal.
fn color(ratio: f64, goal: Option<Goal>) -> &'static str {
    match goal {
        Some(Goal::AtMost(most)) if ratio <= most => "#3a7d44",
        Some(Goal::AtLeast(least)) if ratio >= least => "#3a7d44",
        Some(_) => "#c8553d",
        None => "#8a94a3",
    }
}

fn mark(svg: &mut String, x: f64, y: f64, height: f64, color: &str) {
    writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"1.5\" height=\"{height:.1}\" fill=\"{color}\"/>"
    )
    .unwrap();
}
