//! Responsible for the picture of the ladder: error of the attention output against stored bits a number, a line a sample. It must
//! never measure.

use plotters::prelude::*;

use super::report::Report;

const SIZE: (u32, u32) = (900, 560);
const COLORS: [RGBColor; 4] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 96, 20),
    RGBColor(44, 130, 60),
    RGBColor(120, 80, 160),
];
/// The least error that the picture shows.
const ERROR_MIN: f64 = 0.001;

/// The picture as SVG.
///
/// # Errors
/// What the drawing library says.
pub fn draw(report: &Report) -> Result<String, PictureError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "Error of the attention output against size",
                ("sans-serif", 20),
            )
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(2.0..9.5_f64, (ERROR_MIN..1.0_f64).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("stored bits a number")
            .y_desc("relative error of the attention output")
            .y_label_formatter(&|error| format!("{} %", error * 100.0))
            .draw()
            .map_err(failed)?;
        for (sample, color) in report.samples.iter().zip(COLORS.iter().cycle()) {
            let points = || {
                sample
                    .rungs
                    .iter()
                    .filter(|row| !row.exact)
                    .map(|row| (row.bits, row.all.output.max(ERROR_MIN)))
            };
            let mut line: Vec<(f64, f64)> = points().collect();
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart
                .draw_series(LineSeries::new(line, color.stroke_width(2)))
                .map_err(failed)?
                .label(sample.name.clone())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
            chart
                .draw_series(points().map(|point| Circle::new(point, 4, color.filled())))
                .map_err(failed)?;
        }
        if let Some(sample) = report.samples.first() {
            let names = sample.rungs.iter().filter(|row| !row.exact);
            chart
                .draw_series(names.map(|row| {
                    Text::new(
                        row.codec,
                        (row.bits + 0.08, row.all.output.max(ERROR_MIN) * 1.12),
                        ("sans-serif", 14),
                    )
                }))
                .map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The drawing library refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the picture: {0}")]
pub struct PictureError(String);

fn failed(error: impl std::fmt::Display) -> PictureError {
    PictureError(error.to_string())
}
