//! Responsible for figures in three forms: a table for people, JSON for programs, a picture for the book. It must never
//! compute a figure.

use comfy_table::{CellAlignment, Table as Grid, presets};
use plotters::prelude::*;
use thiserror::Error;

use crate::replay::{Cell, Table};

/// Why there is no picture or JSON.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The picture could not be drawn.
    #[error("drawing failed: {what}")]
    Picture {
        /// What the drawing said.
        what: String,
    },
    /// The figures could not be written as JSON.
    #[error("writing JSON failed")]
    Json(#[from] serde_json::Error),
}

impl ReportError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Picture { .. } => "picture_failed",
            Self::Json(_) => "json_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Picture { .. } => "ask for at least two capacities and one policy",
            Self::Json(_) => "this is a defect of ours: report it with the trace",
        }
    }
}

/// Size of a picture in pixels.
const PICTURE: (u32, u32) = (960, 600);

/// One colour a curve, told apart also by those who see fewer (Okabe, Ito, "Color universal design", 2008).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];

/// Policies in their order, and shares in theirs.
fn axes(table: &Table) -> (Vec<&str>, Vec<f64>) {
    let (mut policies, mut shares): (Vec<&str>, Vec<f64>) = (Vec::new(), Vec::new());
    for cell in &table.cells {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
        if !shares.contains(&cell.share) {
            shares.push(cell.share);
        }
    }
    (policies, shares)
}

/// The figures as text: hits a block asked for, then the share of the prefill's operations saved.
pub fn text(table: &Table) -> String {
    let (policies, shares) = axes(table);
    let mut grid = Grid::new();
    grid.load_style(presets::ASCII_MARKDOWN);
    let heads = |what: &str| {
        shares
            .iter()
            .map(|share| format!("{what} {}", percent(*share)))
            .collect::<Vec<_>>()
    };
    let mut header = vec!["policy".to_owned()];
    header.extend(heads("hits"));
    header.extend(heads("saved"));
    grid.set_header(header);
    for policy in policies {
        let cells = || shares.iter().map(|share| find(table, policy, *share));
        let mut row = vec![policy.to_owned()];
        row.extend(
            cells().map(|cell| cell.map_or_else(String::new, |cell| figure(cell.hit_ratio))),
        );
        row.extend(cells().map(|cell| {
            cell.and_then(|cell| cell.cost_ratio)
                .map_or_else(String::new, figure)
        }));
        grid.add_row(row);
    }
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "{}: {} requests, {} blocks asked for, {} different, {} tokens a block\n{grid}\n",
        table.trace, table.requests, table.touches, table.unique_blocks, table.block_tokens
    )
}

/// The figures as JSON, one object.
///
/// # Errors
/// [`ReportError::Json`], which figures of ours never cause.
pub fn json(table: &Table) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(table)?)
}

/// The figures as an SVG picture: hits over capacity, one curve a policy, the optimum in black.
///
/// # Errors
/// [`ReportError::Picture`] when there is nothing to draw.
pub fn picture(table: &Table) -> Result<String, ReportError> {
    let mut svg = String::new();
    draw(table, &mut svg).map_err(|error| ReportError::Picture {
        what: error.to_string(),
    })?;
    Ok(svg)
}

fn draw(table: &Table, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let (policies, shares) = axes(table);
    let root = SVGBackend::with_string(svg, PICTURE).into_drawing_area();
    root.fill(&WHITE)?;
    let low = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shares.iter().copied().fold(0.0, f64::max);
    if policies.is_empty() || low <= 0.0 || low >= high {
        return Err("a curve needs two capacities".into());
    }
    let top = table
        .cells
        .iter()
        .map(|cell| cell.hit_ratio)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("Contiguous hits, {}", table.trace),
            ("sans-serif", 22),
        )
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (low * 100.0..high * 100.0).log_scale(),
            0.0..top * 1.05 + 0.01,
        )?;
    chart
        .configure_mesh()
        .x_desc("capacity, % of different blocks")
        .y_desc("hits a block asked for")
        .light_line_style(WHITE)
        .draw()?;
    for (at, policy) in policies.iter().enumerate() {
        let colour = match *policy {
            "opt" => BLACK,
            _ => COLOURS
                .get(at % (COLOURS.len() - 1))
                .copied()
                .unwrap_or(BLACK),
        };
        let width = if *policy == "adaptive" { 4 } else { 2 };
        let points = shares
            .iter()
            .filter_map(|share| Some((share * 100.0, find(table, policy, *share)?.hit_ratio)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(*policy)
            .legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(RGBColor(200, 200, 200))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

fn find<'a>(table: &'a Table, policy: &str, share: f64) -> Option<&'a Cell> {
    let cells = table.cells.iter();
    cells
        .into_iter()
        .find(|cell| cell.policy == policy && (cell.share - share).abs() < 1e-12)
}

fn figure(ratio: f64) -> String {
    format!("{ratio:.4}")
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 1e2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cost;
    use crate::generate::{Mix, generate};
    use crate::replay::{Capacity, Plan, replay};

    #[test]
    fn every_policy_and_the_optimum_are_in_all_three_forms() {
        let plan = Plan {
            kinds: ultrakv_cache::PolicyKind::all().collect(),
            capacities: vec![Capacity::Share(0.05), Capacity::Share(0.2)],
            cost: Cost::Flops,
            setup: ultrakv_cache::Setup::default(),
        };
        let table = replay(&generate(Mix::Chat, 5, 400), &plan, |done, total| {
            assert!(done <= total)
        });
        let forms = [
            text(&table),
            json(&table).unwrap(),
            picture(&table).unwrap(),
        ];
        for kind in &plan.kinds {
            let name = kind.recipe().name;
            assert!(forms.iter().all(|form| form.contains(name)), "{name}");
            for share in [0.05, 0.2] {
                let (own, most) = (table.hit_ratio(name, share), table.hit_ratio("opt", share));
                assert!(
                    own <= most && own > Some(0.0),
                    "{name}: {own:?} of {most:?}"
                );
            }
        }
    }

    #[test]
    fn one_capacity_makes_no_curve() {
        let plan = Plan {
            kinds: vec![ultrakv_cache::PolicyKind::LRU],
            capacities: vec![Capacity::Share(0.1)],
            cost: Cost::Blocks,
            setup: ultrakv_cache::Setup::default(),
        };
        let table = replay(&generate(Mix::Chat, 5, 50), &plan, |_, _| {});
        assert_eq!(picture(&table).unwrap_err().code(), "picture_failed");
    }
}
