//! A latency plot as SVG, by hand: percentiles on a scale that widens the tail, latency on a logarithmic one.
//!
//! It has no background, and its ink follows the reader's light or dark scheme.

use std::fmt::Write;

use crate::histogram::Samples;

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
/// Legible on white and on black; told apart by those who do not see red and green.
const COLOURS: [&str; 6] = ["#8a8f98", "#d9534f", "#e0912f", "#2f8fe0", "#9b6bd3", "#2aa198"];
/// Where the axis of percentiles ends, in parts that are above.
const TAIL: f64 = 1e-3;
/// Points that a curve is drawn with.
const POINTS: usize = 160;
/// Labels closer than this are moved apart.
const LABEL_GAP: f64 = 16.0;

/// A curve.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// What it shows.
    pub name: &'a str,
    /// Of what.
    pub samples: &'a Samples,
}

/// A whole plot.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    /// The title.
    pub title: &'a str,
    /// A line below it: how it was measured.
    pub subtitle: &'a str,
    /// A few words at the bottom: on what.
    pub machine: &'a str,
    /// The curves.
    pub series: &'a [Series<'a>],
}

/// From latencies to places.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Whole powers of ten around all that is drawn.
    fn of(curves: &[Vec<(f64, f64)>]) -> Self {
        let all = || {
            curves
                .iter()
                .flatten()
                .map(|(_, ms)| *ms)
                .filter(|ms| ms.is_finite() && *ms > 0.0)
        };
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        if high == 0.0 {
            return Self { low: -1.0, high: 1.0 };
        }
        let low_power = low.log10().floor();
        Self {
            low: low_power,
            high: high.log10().ceil().max(low_power + 1.0),
        }
    }

    fn y(&self, ms: f64) -> f64 {
        let share = (ms.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Each power of ten of what is above takes the same room.
fn x(above: f64) -> f64 {
    let share = above.max(TAIL).log10() / TAIL.log10();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

/// Draws it.
#[must_use]
pub fn draw(plot: &Plot<'_>) -> String {
    let curves: Vec<Vec<(f64, f64)>> = plot.series.iter().map(|series| curve(series.samples)).collect();
    let scale = Scale::of(&curves);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"system-ui,sans-serif\" font-size=\"13\" role=\"img\">\n\
         <style>.i{{fill:#1f2328}}.s{{fill:#656d76}}.g{{stroke:#8a8f98;stroke-opacity:.3}}\
         @media(prefers-color-scheme:dark){{.i{{fill:#e6edf3}}.s{{fill:#9da5ae}}}}</style>\n\
         <title>{title}</title>\n\
         <text class=\"i\" x=\"{LEFT}\" y=\"24\" font-size=\"17\" font-weight=\"600\">{title}</text>\n\
         <text class=\"s\" x=\"{LEFT}\" y=\"44\">{subtitle}</text>\n",
        title = escaped(plot.title),
        subtitle = escaped(plot.subtitle),
    );
    axes(&mut svg, &scale, plot.machine);
    let ends: Vec<f64> = curves
        .iter()
        .map(|curve| scale.y(curve.last().map_or(f64::NAN, |end| end.1)))
        .collect();
    let labels = apart(&ends);
    for (index, (curve, series)) in curves.iter().zip(plot.series).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = curve
            .iter()
            .map(|(above, ms)| format!("{:.1},{:.1}", x(*above), scale.y(*ms)))
            .collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\" points=\"{}\"/>\n\
             <text fill=\"{colour}\" font-weight=\"600\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            points.join(" "),
            WIDTH - RIGHT + 8.0,
            labels[index] + 4.0,
            escaped(series.name),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Latencies in milliseconds by the part of the requests that took longer, as far as the samples tell.
fn curve(samples: &Samples) -> Vec<(f64, f64)> {
    let sorted = samples.sorted();
    // The slowest sample says little about what is above it.
    let tail = TAIL.max(1.0 / sorted.len().max(1) as f64);
    (0..=POINTS)
        .map(|point| tail.powf(point as f64 / POINTS as f64))
        .map(|above| (above, sorted.per_mille_ms((1.0 - above) * 1000.0)))
        .filter(|(_, ms)| ms.is_finite())
        .collect()
}

fn axes(svg: &mut String, scale: &Scale, machine: &str) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut power = scale.low;
    while power <= scale.high + 0.5 {
        let y = scale.y(10_f64.powf(power));
        let _ = write!(
            svg,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n\
             <text class=\"s\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            y + 4.0,
            duration(power),
        );
        power += 1.0;
    }
    for (above, name) in [
        (1.0, "min"),
        (0.5, "p50"),
        (0.1, "p90"),
        (0.01, "p99"),
        (0.001, "p99.9"),
    ] {
        let x = x(above);
        let _ = write!(
            svg,
            "<line class=\"g\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n\
             <text class=\"s\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>\n",
            bottom + 18.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"s\" x=\"{LEFT}\" y=\"{:.1}\">percentile of latency, from the send to the whole answer; {}</text>",
        bottom + 40.0,
        escaped(machine),
    );
}

fn duration(power: f64) -> String {
    match 10_f64.powf(power) {
        ms if ms < 0.9e-3 => format!("{} ns", (ms * 1e6).round()),
        ms if ms < 0.9 => format!("{} µs", (ms * 1e3).round()),
        ms if ms < 900.0 => format!("{} ms", ms.round()),
        ms => format!("{} s", (ms / 1e3).round()),
    }
}

/// Places from top to bottom that are at least a line apart, each near where it was wanted.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut least = f64::NEG_INFINITY;
    for index in order {
        placed[index] = placed[index].max(least);
        least = placed[index] + LABEL_GAP;
    }
    placed
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_curve_stays_inside() {
        let (mut short, mut long) = (Samples::default(), Samples::default());
        (1..=2000).for_each(|us| short.push(Duration::from_micros(us)));
        (1..=50).for_each(|ms| long.push(Duration::from_millis(ms * ms)));
        let series = [
            Series {
                name: "a <b>",
                samples: &short,
            },
            Series {
                name: "long",
                samples: &long,
            },
            Series {
                name: "none",
                samples: &Samples::default(),
            },
        ];
        let svg = draw(&Plot {
            title: "t",
            subtitle: "s",
            machine: "m",
            series: &series,
        });
        assert!(svg.contains("a &lt;b&gt;"));
        for points in svg
            .split("points=\"")
            .skip(1)
            .filter(|rest| !rest.starts_with('"'))
        {
            for point in points.split('"').next().unwrap().split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                    "{point}"
                );
            }
        }
    }

    #[test]
    fn labels_do_not_overlap() {
        let placed = apart(&[100.0, 98.0, 300.0, 101.0]);
        let mut sorted = placed.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(
            sorted.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_GAP),
            "{placed:?}"
        );
    }
}
