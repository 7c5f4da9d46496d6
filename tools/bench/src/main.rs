//! tmp
use std::path::PathBuf;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |n: &str| a.iter().position(|x| x == n).map(|i| a[i + 1].clone());
    let corpus = PathBuf::from(get("--corpus").unwrap_or("tools/recorder/corpus".into()));
    let dir = PathBuf::from(get("--dir").unwrap_or("/work/benchdir".into()));
    let mut c = if a.iter().any(|x| x == "--quick") { reelvault_bench::Config::quick(corpus, dir) } else { reelvault_bench::Config::full(corpus, dir) };
    if let Some(b) = get("--memory-bytes") { c.memory_raw_bytes = b.parse().unwrap_or(1) }
    if let Some(b) = get("--journal-bytes") { c.journal_bytes = b.parse().unwrap_or(1) }
    if let Some(o) = get("--only") { c.only = vec![o] }
    if let Some(ch) = get("--child") { if let Err(e) = reelvault_bench::run_child(&ch, &c) { eprintln!("{e}"); std::process::exit(1) } return; }
    match reelvault_bench::run(&c, &|s| eprintln!("- {s}")) {
        Ok(r) => for f in r.figures { println!("{:36} {:>10.3} {:9} limit {:?} goal {} {:?}\n      {}", f.name, f.value, f.unit, f.limit, f.goal, f.reached, f.note) },
        Err(e) => { eprintln!("{e}"); std::process::exit(1) }
    }
}
