//! A report as one HTML file that needs no network.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::error::{Error, Kind, Result};

/// One part of a report.
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// A sentence or two on how to read it.
    pub text: String,
    /// What it shows.
    pub body: Vec<Body>,
}

/// What a section shows.
pub enum Body {
    /// A table: its header and its rows.
    Table(Vec<String>, Vec<Vec<String>>),
    /// An `<svg>` element.
    Svg(String),
    /// A picture with its description, shown at its own size.
    Picture(RgbImage, String),
    /// Pictures below each other, each with its caption before it.
    Strips(Vec<(String, RgbImage)>),
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}table{border-collapse:collapse}\
th,td{padding:.25rem .9rem .25rem 0;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}.strips{table-layout:fixed;width:100%}\
.strips td{border:0;padding:.15rem 0;text-align:left}.strips td:first-child{width:9.5rem}.strips img{display:block}img{max-width:100%;image-rendering:pixelated}svg{max-width:100%;height:auto}";

/// Renders a report.
///
/// # Errors
/// Where a picture cannot be encoded.
pub fn render(title: &str, lead: &str, sections: &[Section]) -> Result<String> {
    let sections: Vec<Markup> = sections.iter().map(section).collect::<Result<_>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (lead) }
                @for section in sections { (section) }
            }
        }
    };
    Ok(page.into_string())
}

fn section(section: &Section) -> Result<Markup> {
    let bodies: Vec<Markup> = section.body.iter().map(body).collect::<Result<_>>()?;
    Ok(html! {
        section {
            h2 { (section.heading) }
            p { (section.text) }
            @for body in bodies { (body) }
        }
    })
}

fn body(body: &Body) -> Result<Markup> {
    Ok(match body {
        Body::Table(header, rows) => html! {
            table {
                tr { @for cell in header { th { (cell) } } }
                @for row in rows { tr { @for cell in row { td { (cell) } } } }
            }
        },
        Body::Svg(svg) => PreEscaped(svg.clone()),
        Body::Picture(picture, description) => html! { p { (img(picture, description)?) } },
        Body::Strips(strips) => html! {
            table.strips {
                @for (caption, picture) in strips { tr { td { (caption) } td { (img(picture, caption)?) } } }
            }
        },
    })
}

fn img(picture: &RgbImage, description: &str) -> Result<Markup> {
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::new(Kind::Other, format!("cannot encode a picture: {error}")))?;
    let source = format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner()));
    Ok(html! { img src=(source) alt=(description); })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_file_and_escapes_its_text() {
        let picture = Body::Picture(RgbImage::new(2, 2), "two by two".into());
        let table = Body::Table(vec!["<a>".into()], vec![vec!["1 & 2".into()]]);
        let strips = Body::Strips(vec![("up & left".into(), RgbImage::new(2, 2))]);
        let section = Section { heading: "Part".into(), text: "How".into(), body: vec![picture, table, strips] };
        let page = render("Title", "Lead", &[section]).unwrap();
        assert!(page.contains("&lt;a&gt;") && page.contains("1 &amp; 2") && page.contains("data:image/png;base64,"));
        assert!(page.contains("<td>up &amp; left</td>") && page.matches("<img ").count() == 2, "{page}");
        assert!(!page.contains("http"), "nothing is loaded from elsewhere");
    }
}
