//! Plots: distributions of delay, and lengths of runs of lost packets.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

/// Points of a curve that is drawn from a sample.
const POINTS: usize = 400;
const SIZE: (u32, u32) = (800, 480);
/// Asked, Entropy, netem.
const COLOURS: [RGBColor; 3] =
    [RGBColor(130, 130, 130), RGBColor(200, 40, 40), RGBColor(30, 90, 200)];
const NAMES: [&str; 3] = ["asked", "Entropy", "netem"];

/// Three curves in one picture.
pub(super) struct Plot {
    /// Name of its file.
    pub(super) file: String,
    pub(super) title: String,
    axes: [&'static str; 2],
    /// Asked, Entropy, netem.
    curves: [Vec<(f64, f64)>; 3],
}

impl Plot {
    /// Distribution functions: what was asked, and two sorted samples, in milliseconds.
    pub(super) fn distribution(
        name: &str,
        title: &str,
        asked: Vec<(f64, f64)>,
        entropy: &[f64],
        netem: &[f64],
    ) -> Self {
        let title = format!("{title}: one-way delay");
        let axes = ["delay [ms]", "share of packets up to it"];
        let curves = [asked, cumulative(entropy), cumulative(netem)];
        Self { file: format!("{name}.svg"), title, axes, curves }
    }

    /// Numbers of runs by their length, from one packet on.
    pub(super) fn runs(name: &str, title: &str, runs: [Vec<u64>; 3]) -> Self {
        let curves = runs.map(|runs| {
            (1..).zip(runs).map(|(length, count)| (f64::from(length), count as f64)).collect()
        });
        let title = format!("{title}: runs of lost packets");
        Self { file: format!("{name}.svg"), title, axes: ["length of a run", "runs"], curves }
    }

    /// Draws it into a directory.
    pub(super) fn draw(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.file);
        // The library's error type is that of its drawing backend, and borrows.
        self.draw_to(&path)
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("draw {}", path.display()))
    }

    fn draw_to(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let (x, y) = self.ranges();
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart.configure_mesh().x_desc(self.axes[0]).y_desc(self.axes[1]).draw()?;
        for ((curve, colour), name) in self.curves.iter().zip(COLOURS).zip(NAMES) {
            let line = LineSeries::new(curve.iter().copied(), colour.stroke_width(2));
            chart.draw_series(line)?.label(name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK)
            .position(SeriesLabelPosition::MiddleRight)
            .draw()?;
        area.present()?;
        Ok(())
    }

    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let points = || self.curves.iter().flatten();
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        if most > least { (least..most, 0.0..highest * 1.05) } else { (0.0..1.0, 0.0..1.0) }
    }
}

/// Points of a sorted sample's distribution function; its last thousandth is left out, which would
/// take the whole picture.
fn cumulative(sorted: &[f64]) -> Vec<(f64, f64)> {
    let count = sorted.len() * 999 / 1000;
    let step = (count / POINTS).max(1);
    (0..count)
        .step_by(step)
        .map(|index| (sorted[index], (index + 1) as f64 / sorted.len() as f64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_an_svg_with_three_curves_and_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let sample: Vec<f64> = (0..1000).map(f64::from).collect();
        let asked = vec![(0.0, 0.0), (999.0, 1.0)];
        let plot = Plot::distribution("a", "title", asked, &sample, &sample);
        plot.draw(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("a.svg")).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
        for name in NAMES {
            assert!(text.contains(name), "{name}");
        }
        assert!(text.matches("<polyline").count() >= 3);
    }

    #[test]
    fn nothing_measured_is_drawn_all_the_same() {
        let plot = Plot::runs("b", "none", [vec![], vec![], vec![]]);
        assert_eq!(plot.ranges(), (0.0..1.0, 0.0..1.0));
    }
}
