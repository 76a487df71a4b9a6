//! Line charts as SVG text.

use plotters::prelude::*;

use crate::error::{Error, Kind, Result};

/// One line of a chart.
pub struct Line<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its points, in the order of their x.
    pub points: &'a [(f64, f64)],
}

const SIZE: (u32, u32) = (640, 280);
const COLOURS: [RGBColor; 4] =
    [RGBColor(38, 84, 124), RGBColor(239, 71, 111), RGBColor(6, 140, 110), RGBColor(180, 120, 0)];

/// A chart of `lines` over `x`, as an `<svg>` element; points that are not finite are left out.
///
/// # Errors
/// Where the chart cannot be drawn.
pub fn line_chart(x: &str, y: &str, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, x, y, lines)
        .map_err(|error| Error::new(Kind::Other, format!("cannot draw the chart of {y}: {error}")))?;
    Ok(svg)
}

fn draw(svg: &mut String, x: &str, y: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let finite = |line: &Line| -> Vec<(f64, f64)> {
        line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let all: Vec<(f64, f64)> = lines.iter().flat_map(&finite).collect();
    let span = |of: fn(&(f64, f64)) -> f64| {
        let low = all.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        // One point, or none, still wants an axis.
        if low < high {
            (low, high)
        } else if low.is_finite() {
            (low - 0.5, low + 0.5)
        } else {
            (0.0, 1.0)
        }
    };
    let ((left, right), (low, high)) = (span(|point| point.0), span(|point| point.1));
    let margin = 0.05 * (high - low);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, low - margin..high + margin)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(finite(line), colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    if lines.len() > 1 {
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    }
    drop(chart);
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_survives_no_points_one_point_and_nan() {
        for points in [&[][..], &[(1.0, 2.0)][..], &[(0.0, f64::NAN), (1.0, 1.0), (2.0, 3.0)][..]] {
            let svg = line_chart("step", "loss", &[Line { name: "a", points }]).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"));
        }
    }
}
