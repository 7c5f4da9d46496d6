//! The dashboard and the alert rules ask for figures that the service gives, or that `reelvault backup` writes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use crate::common::World;

fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !word(c));
    words.filter(|w| w.starts_with("reelvault_")).map(str::to_owned).collect()
}

#[test]
fn every_figure_that_is_asked_for_is_there() {
    let world = World::new();
    let service = world.serve();
    assert_eq!(service.client().get("/healthz").status, 200);
    let mut plain = std::net::TcpStream::connect(service.running.metrics().unwrap()).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut figures = String::new();
    plain.read_to_string(&mut figures).unwrap();
    let there: BTreeSet<String> = figures
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .filter_map(|l| l.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => vec![format!("{name}_bucket")],
            _ => vec![name.to_owned()],
        })
        .collect();
    // What the command writes, its own tests look at; here it is enough that it knows the name.
    let command = names(include_str!("../../../cli/src/commands/backup.rs"));
    let there: BTreeSet<String> = there.union(&command).cloned().collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring");
    for file in ["alerts.yml", "dashboard.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let asked = names(&text);
        // Such a backup has succeeded by all other figures.
        assert!(file != "alerts.yml" || asked.contains("reelvault_backup_damaged_places"));
        assert!(asked.len() > 8, "{file}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{file}: {missing:?} of {there:?}");
    }
    let dashboard = std::fs::read_to_string(folder.join("dashboard.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&dashboard).unwrap()["panels"].is_array());
}
