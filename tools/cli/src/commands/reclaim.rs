//! `reclaim`: gives back the space of erased sessions.

use reelvault::RECLAIM_SHARE;
use serde::Serialize;

use crate::access::Access;
use crate::exit::{Exit, Run};
use crate::human::{bytes, count};
use crate::output::Out;
use crate::progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault reclaim
  reelvault reclaim --share 0.1

What was erased cannot be read whether its bytes are given back or not. An open
store does this by itself; this looks at every segment. Segments are written
once more without what was erased; no recording is decrypted for it. It may be
interrupted at any point.";

/// Arguments of `reclaim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only segments of which at least this share was erased, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = RECLAIM_SHARE, value_parser = share)]
    share: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1, such as 0.5".to_owned())
}

#[derive(Serialize)]
struct Body {
    looked_at: usize,
    segments: usize,
    bytes: u64,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let store = access.write()?;
    let spinner = progress::spinner("reclaiming");
    let reclaimed = store.reclaim(args.share);
    spinner.finish_and_clear();
    let reclaimed = reclaimed?;
    store.close()?;
    let body = Body {
        looked_at: reclaimed.looked_at,
        segments: reclaimed.segments,
        bytes: reclaimed.bytes,
    };
    if out.is_json() {
        out.document(&body)?;
    } else {
        out.pairs([
            ("segments", count(body.looked_at as u64)),
            ("written anew", count(body.segments as u64)),
            ("given back", bytes(body.bytes)),
        ])?;
    }
    Ok(Exit::Done)
}
