//! The plots: bars of each peer, in SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::engine::Track;
use crate::results::Results;
use crate::{PeerError, Result};

/// Title, unit, and the pieces of work with the figure of each.
type Plot = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What is drawn.
const PLOTS: [Plot; 9] = [
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
    (
        "Recording and settling, as the store grows",
        "raw MB/s",
        &[
            ("fill, 1024 MiB", "raw MB/s, with settling"),
            ("fill, 10240 MiB", "raw MB/s, with settling"),
            ("fill, 51200 MiB", "raw MB/s, with settling"),
            ("fill, 10 sites", "raw MB/s, with settling"),
            ("fill, 1000 sites", "raw MB/s, with settling"),
            ("fill, 100000 sites", "raw MB/s, with settling"),
        ],
    ),
    (
        "Warm replay, as the store grows",
        "raw MB/s",
        &[
            ("read, 1024 MiB", "warm replay raw MB/s"),
            ("read, 10240 MiB", "warm replay raw MB/s"),
            ("read, 51200 MiB", "warm replay raw MB/s"),
            ("read, 10 sites", "warm replay raw MB/s"),
            ("read, 1000 sites", "warm replay raw MB/s"),
            ("read, 100000 sites", "warm replay raw MB/s"),
        ],
    ),
    (
        "A list of sessions, as the store grows",
        "µs",
        &[
            ("read, 1024 MiB", "list p50 µs"),
            ("read, 10240 MiB", "list p50 µs"),
            ("read, 51200 MiB", "list p50 µs"),
            ("read, 10 sites", "list p50 µs"),
            ("read, 1000 sites", "list p50 µs"),
            ("read, 100000 sites", "list p50 µs"),
        ],
    ),
];

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// Beside the bars, so that it hides none of them.
const LEGEND_WIDTH: u32 = 120;
const LEGEND_TOP: i32 = 52;
const LEGEND_LINE: i32 = 24;
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
    if let Some((_, grown)) = work.split_once(", ") {
        return grown.to_owned();
    }
    match work.strip_prefix("ingest ") {
        Some(sessions) if figure == unit => sessions.to_owned(),
        _ => figure.trim_end_matches(unit).trim().to_owned(),
    }
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Groups of bars, one bar for each peer, and at the right what is whose.
fn bars(
    path: &Path,
    (title, unit): (&str, &str),
    peers: &[String],
    labels: &[String],
    values: &[Vec<Option<f64>>],
) -> Drawn {
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(WIDTH - LEGEND_WIDTH);
    let most = values.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let logarithmic = unit == "µs";
    // One line of axis for both kinds: what is drawn is the logarithm where the axis is one.
    let place = |value: f64| if logarithmic { (value / LOG_FROM).max(1.0).log10() } else { value };
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..labels.len() as f64, 0.0..place(most) * 1.05)?;
    let axis = |at: &f64| match logarithmic {
        true => time(LOG_FROM * 10f64.powf(*at)),
        false => crate::report::number(*at),
    };
    let group = |at: &f64| labels.get(*at as usize).cloned().unwrap_or_default();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(labels.len() + 1)
        .x_label_formatter(&group)
        .x_label_offset((WIDTH - LEGEND_WIDTH) as i32 / 2 / labels.len().max(1) as i32)
        .y_desc(if logarithmic { "" } else { unit })
        .y_labels(if logarithmic { place(most).ceil() as usize + 1 } else { 8 })
        .y_label_formatter(&axis)
        .draw()?;
    let in_it: Vec<(usize, &String)> = peers
        .iter()
        .enumerate()
        .filter(|(n, _)| values.iter().any(|group| group.get(*n).copied().flatten().is_some()))
        .collect();
    let width = 0.85 / in_it.len() as f64;
    for (at, (n, peer)) in in_it.into_iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let bars = values.iter().enumerate().filter_map(|(group, values)| {
            let value = values.get(n).copied().flatten()?;
            let left = group as f64 + 0.075 + at as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.9, place(value))], colour.filled()))
        });
        chart.draw_series(bars)?;
        let top = LEGEND_TOP + at as i32 * LEGEND_LINE;
        right.draw(&Rectangle::new([(0, top), (12, top + 12)], colour.filled()))?;
        right.draw(&Text::new(peer.clone(), (20, top), ("sans-serif", 14)))?;
    }
    root.present()?;
    Ok(())
}

/// Microseconds in the unit in which they are short.
fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{value:.0} {unit}")
}
