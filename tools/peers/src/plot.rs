//! The plots: bars of each peer, in SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::engine::Track;
use crate::run::Results;
use crate::{PeerError, Result};

/// Title, unit, and the pieces of work with the figure of each.
type Plot = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What is drawn.
const PLOTS: [Plot; 6] = [
    (
        "Durable ingest by sessions at once",
        "raw MB/s",
        &[
            ("ingest 1", "raw MB/s"),
            ("ingest 8", "raw MB/s"),
            ("ingest 64", "raw MB/s"),
            ("ingest 256", "raw MB/s"),
        ],
    ),
    (
        "Acknowledged after, 64 sessions at once",
        "µs",
        &[("ingest 64", "ack p50 µs"), ("ingest 64", "ack p99 µs"), ("ingest 64", "ack p99.9 µs")],
    ),
    (
        "Replay of whole sessions",
        "raw MB/s",
        &[("read", "cold replay raw MB/s"), ("read", "warm replay raw MB/s")],
    ),
    (
        "Jump into a long session",
        "µs",
        &[
            ("read", "cold jump into a long session p50 µs"),
            ("read", "warm jump into a long session p50 µs"),
        ],
    ),
    ("Space", "stored / raw", &[("fill", "stored / raw")]),
    ("Memory while recording 64 sessions at once", "MiB", &[("ingest 64", "memory MiB")]),
];

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// Times differ by powers of ten, so their axis is logarithmic; bars begin here.
const LOG_FROM: f64 = 10.0;

/// Colours that are told apart by those who see fewer of them (Okabe and Ito, 2008), reelvault's first.
const COLOURS: [RGBColor; 9] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(240, 228, 66),
    RGBColor(110, 110, 110),
    RGBColor(0, 0, 0),
];

/// Draws all for which there are figures; title and file name of each.
pub(crate) fn all(results: &Results, dir: &Path) -> Result<Vec<(String, String)>> {
    let failed = |e| PeerError::Io(dir.to_owned(), e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut made = Vec::new();
    for (title, unit, groups) in PLOTS {
        let peers = results.peers(Track::EqualSecurity);
        let values = groups.iter().map(|(work, figure)| {
            let value = |peer: &String| results.median(Track::EqualSecurity, peer, work, figure);
            peers.iter().map(value).collect::<Vec<_>>()
        });
        let values: Vec<Vec<Option<f64>>> = values.collect();
        if values.iter().flatten().all(Option::is_none) {
            continue;
        }
        let words = title.to_lowercase();
        let file = words.split([' ', ',']).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("-")
            + ".svg";
        let labels: Vec<String> =
            groups.iter().map(|(work, figure)| label(work, figure, unit)).collect();
        let drawn = bars(&dir.join(&file), (title, unit), &peers, &labels, &values);
        drawn.map_err(|e| PeerError::Peer(format!("drawing {file}: {e}")))?;
        made.push((title.to_owned(), file));
    }
    Ok(made)
}

/// What a group of bars is called: that in which it differs from the others.
fn label(work: &str, figure: &str, unit: &str) -> String {
    match work.strip_prefix("ingest ") {
        Some(sessions) if figure == unit => sessions.to_owned(),
        _ => figure.trim_end_matches(unit).trim().to_owned(),
    }
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Groups of bars, one bar for each peer.
fn bars(
    path: &Path,
    (title, unit): (&str, &str),
    peers: &[String],
    labels: &[String],
    values: &[Vec<Option<f64>>],
) -> Drawn {
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let most = values.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let logarithmic = unit == "µs";
    // One line of axis for both kinds: what is drawn is the logarithm where the axis is one.
    let place = |value: f64| if logarithmic { (value / LOG_FROM).max(1.0).log10() } else { value };
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..labels.len() as f64, 0.0..place(most) * 1.25)?;
    let axis = |at: &f64| match logarithmic {
        true => crate::report::number(LOG_FROM * 10f64.powf(*at)),
        false => crate::report::number(*at),
    };
    let group = |at: &f64| labels.get(*at as usize).cloned().unwrap_or_default();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(labels.len() + 1)
        .x_label_formatter(&group)
        .x_label_offset(WIDTH as i32 / 2 / labels.len().max(1) as i32)
        .y_desc(unit)
        .y_label_formatter(&axis)
        .draw()?;
    let width = 0.85 / peers.len() as f64;
    for (n, peer) in peers.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let bars = values.iter().enumerate().filter_map(|(group, values)| {
            let value = values.get(n).copied().flatten()?;
            let left = group as f64 + 0.075 + n as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.9, place(value))], colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(peer)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()?;
    Ok(())
}
