//! The body of a keyring and its parts without their seals, for fuzzing.

use zeroize::Zeroizing;

use super::coding::{Loader, Parts, Sealer};
use super::part::{Part, Stand};
use super::state::State;
use super::{PART_BYTES, Site};
use crate::env::sim::SimRandom;
use crate::error::{Damage, Error, Result};
use crate::format::codec::Take;
use crate::fuzzing::Decoded;

/// Places of a tree that are looked for and removed.
const LEAVES: [u64; 4] = [0, 1, 1 << 63, u64::MAX];

/// Texts of parts, each with its length (`u16`) before it, in the order in which they are asked for.
struct Texts<'a>(Take<'a>);

impl Parts for Texts<'_> {
    fn read(&mut self, _: &Part, _: &Stand) -> Result<(Zeroizing<Vec<u8>>, String)> {
        let missing = |_| Error::corrupt("part", 0, Damage::Missing);
        let len = self.0.u16("length").map_err(missing)?;
        let text = self.0.bytes(len.into(), "part").map_err(missing)?;
        Ok((Zeroizing::new(text.to_vec()), "part".to_owned()))
    }
}

/// The length of a body (`u16`), the body, then the texts of its parts.
pub(crate) fn keyring(bytes: &[u8]) -> Decoded {
    let mut texts = Take::new(bytes);
    let body = texts.u16("length").and_then(|len| texts.bytes(len.into(), "body"));
    let Ok(body) = body else { return Decoded::Refused };
    let Some(state) = decode(body, &texts) else { return Decoded::Refused };
    let Some(written) = encode(&state) else { return Decoded::Differs };
    let Some(again) = decode(&written, &texts) else { return Decoded::Differs };
    if written.len() > body.len() || encode(&again) != Some(written) {
        return Decoded::Differs;
    }
    if changes(state) { Decoded::Same } else { Decoded::Differs }
}

fn decode(body: &[u8], texts: &Take<'_>) -> Option<State> {
    let mut parts = Texts(texts.clone());
    State::decode(body, &mut Loader::new(&mut parts, None), PART_BYTES).ok()
}

/// The body; none if it is longer than it may be, for then its buffer was moved, and left keys behind.
fn encode(state: &State) -> Option<Vec<u8>> {
    let random = SimRandom::new(1);
    let mut out = Vec::new();
    state.encode(&mut out, &mut Sealer::new(&random, state.store_id)).ok()?;
    (out.len() <= state.encoded_bytes_max()).then_some(out)
}

/// Looks for leaves, removes them, and looks again; whether they are gone, and the generation can still be written.
fn changes(state: State) -> bool {
    let mut next = state.next(state.generation.wrapping_add(1));
    next.time.puncture_through(20_000);
    let sites: Vec<_> = state.sites.iter().take(3).map(|record| record.site.clone()).collect();
    let mut gone = next.time.leaf(20_000).is_none();
    for site in &sites {
        let handle = site.handle();
        let there = LEAVES.iter().filter(|leaf| site.leaf(**leaf).is_some()).count();
        gone &= next.puncture(&handle, &LEAVES) == there;
        let left = next.record(&handle).map(|record| record.tree.clone());
        gone &= left.is_some_and(|tree| LEAVES.iter().all(|leaf| !tree.has(*leaf)));
        gone &= next.site(site.id()).map(|s| Site::handle(s)) == Some(handle);
    }
    let written = encode(&next).is_some();
    for site in &sites {
        next.remove(&site.handle());
        gone &= next.record(&site.handle()).is_none();
    }
    gone && written && encode(&next).is_some()
}
