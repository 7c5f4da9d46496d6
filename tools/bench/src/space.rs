//! Space: the corpus archived, beside compressing and sealing each chunk for itself.

use reelvault::env::Env;
use reelvault::{Durability, Store};

use crate::corpus::session_name;
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Result, limit, now_ms};

pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (stored, chunks, raw) = weigh(bench, false)?;
    let note = format!(
        "segments of the corpus without canvas sessions, indexes included: {stored} bytes; each chunk with zstd 3 and GCM: {chunks}; raw {raw}"
    );
    let goal = Goal::AtMost(0.65, "<= 0.65");
    report.add("space / chunks for themselves", ratio(stored, chunks), "", Some(1.0), goal, note);
    let (stored, chunks, raw) = weigh(bench, true)?;
    let note = format!("canvas frames barely compress: {stored} bytes against {chunks}; raw {raw}");
    let value = ratio(stored, chunks);
    report.add("space, canvas sessions", value, "", Some(1.0), Goal::None, note);
    Ok(())
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

/// Bytes of the archived store, of the chunks for themselves, and raw.
fn weigh(bench: &Bench<'_>, canvas: bool) -> Result<(u64, u64, u64)> {
    let place = bench.place("space")?;
    let store = Store::create(place.options(Env::real())?)?;
    let sites = bench.sites(&store)?;
    let failed = |e| BenchError::Io("memory".into(), e);
    let mut compressor = limit::compressor(3, false).map_err(failed)?;
    let cipher = limit::cipher()?;
    let (mut out, mut chunks_bytes, mut raw) = (Vec::new(), 0, 0);
    let start_ms = now_ms();
    for (n, session) in bench.corpus.sessions.iter().enumerate().filter(|s| s.1.canvas == canvas) {
        let name = session_name(n, 0)?;
        for chunk in session.at(start_ms) {
            sites[session.site].append_with(&name, &chunk, Durability::Deferred)?;
            limit::pack(&chunk.events, &mut compressor, &cipher, &mut out).map_err(failed)?;
            // The nonce is stored beside the ciphertext and its tag.
            chunks_bytes += out.len() as u64 + 12;
            raw += chunk.events.len() as u64;
        }
    }
    store.archive()?;
    Ok((store.stats()?.segment_bytes, chunks_bytes, raw))
}
