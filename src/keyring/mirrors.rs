//! The copies of a keyring on disk: which one counts, and how a new one is written.
//!
//! # Which one counts
//!
//! The newest generation that opens. A copy that is missing, damaged or behind is written again by a writable open.
//! A copy that is whole and newer, but does not open with the key given, is never passed over for an older one: the
//! key is the wrong one then, and writing would destroy the newest keys. Nor is a file touched that is no keyring
//! or could not be read.
//!
//! # Why a crash leaves a whole generation
//!
//! A copy is replaced by renaming a synced file over it, so at each path there is an old or a new generation, whole.
//! That is done when the files of all mirrors are synced, and only when all are in their place does the caller hear of it. A
//! crash before that leaves the new generation in some of them or in none; the next open takes what is newest.
//!
//! Parts come before what names them: all new ones are durable in every mirror before the first keyring file is replaced, and
//! those that nothing names any more are removed after the last one was. So all parts of a generation are in every mirror
//! from before it stands in the first until after it stands in none.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;

use zeroize::Zeroizing;

use super::coding::{Before, Loader, Parts};
use super::file::{Outer, PREFIX_BYTES, Unread, binding};
use super::mirror::Mirror;
use super::part::{self, Part, Stand};
use super::provider::ProviderKind;
use super::state::State;
use super::{DataKey, KeyProvider};
use crate::error::{Damage, Error, Result};
use crate::ids::{FileId, StoreId};

/// How a generation is looked for.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) provider: &'a dyn KeyProvider,
    /// Whether everything is read in every mirror, so that all can be mended.
    pub(super) writable: bool,
    /// What is in memory: it is not read again.
    pub(super) before: Option<&'a Before>,
    /// The parts that earlier attempts have read, for who reads beside a writer.
    pub(super) seen: Option<&'a Seen>,
    /// Bytes from which pieces are split in later generations.
    pub(super) part_bytes: usize,
}

/// Sealed parts, by id. A part never changes, so it need not be read twice.
pub(super) type Seen = RefCell<HashMap<FileId, Vec<u8>>>;

/// The generation that counts, as it was found.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) bytes: Vec<u8>,
    pub(super) sealed: Sealed,
    /// The mirrors that hold something else.
    pub(super) stale: Vec<usize>,
    /// Parts that a mirror does not hold whole, and the mirror that does.
    pub(super) torn: Vec<Torn>,
    /// How the other generations are sealed that were found. What claims to be newer is among them only if it was unwrapped.
    pub(super) older: Vec<Sealed>,
    /// The highest generation whose data key was unwrapped.
    pub(super) newest: u64,
}

/// A part that a mirror does not hold whole.
pub(super) struct Torn {
    pub(super) id: FileId,
    pub(super) mirror: usize,
    /// One that holds it.
    pub(super) whole: usize,
}

/// How a copy is sealed: what a provider needs to open it, but not the copy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) store: StoreId,
    pub(super) generation: u64,
    pub(super) version: u32,
    pub(super) wrapped: Vec<u8>,
    /// Whether these are more than the claims of a file that anyone may have written: this process sealed it, or its data key,
    /// which is bound to them, was unwrapped.
    pub(super) is_known: bool,
}

/// The keyring file of one mirror.
pub(super) struct Copy {
    outer: Outer,
    bytes: Vec<u8>,
}

impl Copy {
    /// How it claims to be sealed.
    pub(super) fn sealed(&self) -> Sealed {
        let (version, wrapped) = self.outer.wrapped(&self.bytes);
        let (store, generation) = (self.outer.store_id, self.outer.generation);
        Sealed { store, generation, version, wrapped: wrapped.to_vec(), is_known: false }
    }
}

/// Parts, from whichever mirror holds them.
struct FromMirrors<'a> {
    mirrors: &'a [Mirror],
    /// Whether to look into the others when one holds it.
    all: bool,
    seen: Option<&'a Seen>,
    torn: Vec<Torn>,
}

impl FromMirrors<'_> {
    /// Opens a part that an earlier attempt has read.
    fn open_seen(&self, part: &Part, stand: &Stand) -> Option<(Zeroizing<Vec<u8>>, String)> {
        let seen = self.seen?.borrow();
        let name = self.mirrors.first()?.part_name(part.id);
        let text = part::open(&name, seen.get(&part.id)?, part, stand).ok()?;
        Some((text, name))
    }
}

impl Parts for FromMirrors<'_> {
    fn read(&mut self, part: &Part, stand: &Stand) -> Result<(Zeroizing<Vec<u8>>, String)> {
        if let Some(seen) = self.open_seen(part, stand) {
            return Ok(seen);
        }
        let mut found: Option<(usize, Vec<u8>, Zeroizing<Vec<u8>>)> = None;
        let mut bad = Vec::new();
        let mut damage = None;
        for (i, mirror) in self.mirrors.iter().enumerate() {
            if found.is_some() && !self.all {
                break;
            }
            let name = mirror.part_name(part.id);
            let opened = mirror.read_part(part.id).and_then(|bytes| match &found {
                Some((_, whole, _)) if *whole == bytes => Ok(None),
                Some(_) => Err(Error::corrupt(&name, 0, Damage::Rot)),
                None => part::open(&name, &bytes, part, stand).map(|text| Some((bytes, text))),
            });
            match opened {
                Ok(Some((bytes, text))) => found = Some((i, bytes, text)),
                Ok(None) => {}
                // It may be whole there, and must not be written over.
                Err(e @ Error::Io { .. }) if self.all => return Err(e),
                Err(e) => {
                    bad.push(i);
                    damage = damage.or(Some(e));
                }
            }
        }
        match (found, damage) {
            (Some((whole, bytes, text)), _) => {
                let id = part.id;
                if let Some(seen) = self.seen {
                    seen.borrow_mut().insert(id, bytes);
                }
                let torn = bad.iter().map(|mirror| Torn { id, mirror: *mirror, whole });
                self.torn.extend(torn.filter(|_| self.all));
                let name = self.mirrors.get(whole).map(|mirror| mirror.part_name(id));
                Ok((text, name.unwrap_or_default()))
            }
            (None, Some(e)) => Err(e),
            (None, None) => Err(Error::corrupt("keyring", 0, Damage::Missing)),
        }
    }
}

/// Reads all mirrors and opens the generation that counts.
pub(super) fn load(mirrors: &[Mirror], look: Look<'_>) -> Result<Loaded> {
    let mut copies = Vec::new();
    let mut damage = None;
    for (i, mirror) in mirrors.iter().enumerate() {
        match read_copy(mirror) {
            Ok(copy) => copies.extend(copy.map(|copy| (i, copy))),
            Err(e) if look.writable && !mendable(&e) => return Err(e),
            Err(e) => damage = damage.or(Some(e)),
        }
    }
    if copies.windows(2).any(|pair| pair[0].1.outer.store_id != pair[1].1.outer.store_id) {
        return Err(Error::WrongKey("the mirrors are keyrings of different stores"));
    }
    copies.sort_by_key(|(_, copy)| Reverse(copy.outer.generation));
    let Some(Chosen { state, at, torn, unwrapped }) = choose(mirrors, &copies, look, &mut damage)?
    else {
        return Err(damage.unwrap_or_else(|| missing(mirrors)));
    };
    let chosen = &copies[at].1;
    let current = |i: &usize| copies.iter().any(|(m, c)| m == i && c.bytes == chosen.bytes);
    let stale = (0..mirrors.len()).filter(|i| !current(i)).collect();
    let seen = |(_, copy): &(usize, Copy)| {
        let is_known = unwrapped.iter().any(|n: &usize| copies[*n].1.bytes == copy.bytes);
        Sealed { is_known, ..copy.sealed() }
    };
    let sealed = Sealed { is_known: true, ..chosen.sealed() };
    let mut older: Vec<Sealed> = copies.iter().map(seen).collect();
    // A copy that was not unwrapped is one that was passed over for its damage, or an older one that was not tried. The numbers of the
    // former are those of whoever wrote it.
    older.retain(|copy| copy.is_known || copy.generation < sealed.generation);
    let newest = older.iter().map(|copy| copy.generation).max().unwrap_or(0);
    older.retain(|copy| *copy != sealed);
    let bytes = copies.swap_remove(at).1.bytes;
    Ok(Loaded { state, bytes, sealed, stale, torn, older, newest })
}

/// There is no keyring at all.
fn missing(mirrors: &[Mirror]) -> Error {
    let path = mirrors.first().map(|mirror| mirror.path().to_owned()).unwrap_or_default();
    Error::io("open the keyring", path, io::ErrorKind::NotFound.into())
}

/// Reads a mirror and checks what can be checked without a key; nothing if there is none.
pub(super) fn read_copy(mirror: &Mirror) -> Result<Option<Copy>> {
    let Some(bytes) = mirror.read(usize::MAX)? else { return Ok(None) };
    let outer = Outer::parse(&mirror.name(), &bytes)?;
    Ok(Some(Copy { outer, bytes }))
}

struct Chosen {
    state: State,
    at: usize,
    torn: Vec<Torn>,
    /// The copies whose data keys were unwrapped, also if nothing more came of it.
    unwrapped: Vec<usize>,
}

/// The first copy that opens; `copies` are newest first.
fn choose(
    mirrors: &[Mirror],
    copies: &[(usize, Copy)],
    look: Look<'_>,
    damage: &mut Option<Error>,
) -> Result<Option<Chosen>> {
    let mut chosen: Option<Chosen> = None;
    let mut unwrapped = Vec::new();
    let mut refused: Option<(u64, Error)> = None;
    for (at, (mirror, copy)) in copies.iter().enumerate() {
        let generation = copy.outer.generation;
        if chosen.as_ref().is_some_and(|chosen| generation < chosen.state.generation) {
            break;
        }
        if copies[..at].iter().any(|other| other.1.bytes == copy.bytes) {
            continue;
        }
        let file = mirrors[*mirror].name();
        let mut parts =
            FromMirrors { mirrors, all: look.writable, seen: look.seen, torn: Vec::new() };
        let data_key = unwrap(&file, copy, look.provider);
        unwrapped.extend(data_key.is_ok().then_some(at));
        let opened = data_key.map_err(Unread::Body);
        match opened.and_then(|key| unseal(&file, copy, &key, look, &mut parts)) {
            // Two histories of one keyring: each may hold keys that the other lacks, so neither is overwritten.
            Ok(_) if chosen.is_some() => {
                let fork = "generation: another mirror holds a different keyring of the same";
                return Err(Error::corrupt(&file, 0, Damage::Malformed(fork)));
            }
            Ok(state) => {
                chosen = Some(Chosen { state, at, torn: parts.torn, unwrapped: Vec::new() });
            }
            Err(Unread::Body(e)) if mendable(&e) => *damage = damage.take().or(Some(e)),
            // The file is whole and what it names is not: an older generation must not take its place.
            Err(Unread::Body(e) | Unread::Part(e)) => refused = refused.or(Some((generation, e))),
        }
    }
    match (chosen, refused) {
        (Some(chosen), Some((generation, e))) if generation > chosen.state.generation => Err(e),
        (None, Some((_, e))) => Err(e),
        (chosen, _) => Ok(chosen.map(|chosen| Chosen { unwrapped, ..chosen })),
    }
}

fn unseal(
    file: &str,
    copy: &Copy,
    data_key: &DataKey,
    look: Look<'_>,
    parts: &mut dyn Parts,
) -> Result<State, Unread> {
    let text = copy.outer.open(file, &copy.bytes, data_key).map_err(Unread::Body)?;
    let mut loader = Loader::new(parts, look.before);
    copy.outer.read(file, &text, &mut loader, look.part_bytes)
}

/// The data key of a copy. Where there is one, the copy's header is what it was sealed with.
fn unwrap(file: &str, copy: &Copy, provider: &dyn KeyProvider) -> Result<DataKey> {
    let outer = &copy.outer;
    let kind = outer.provider(file)?;
    if kind != provider.kind() {
        return Err(Error::WrongKey(match kind {
            ProviderKind::KeyFile => "the keyring is wrapped by a key file",
            ProviderKind::Passphrase => "the keyring is wrapped by a passphrase",
            ProviderKind::External => {
                "the keyring is wrapped by a key provider of another program, such as a key service"
            }
        }));
    }
    let (version, wrapped) = outer.wrapped(&copy.bytes);
    let aad = binding(&outer.store_id, outer.generation, kind);
    provider.unwrap_key(version, wrapped, &aad).map_err(|mut e| {
        if let Error::Corrupt(c) = &mut e {
            // A provider does not know which file it looks at.
            c.file = file.to_owned();
        }
        e
    })
}

/// Whether the copy may be replaced by a good one. A file of another kind may be here by a slip of the hand.
fn mendable(e: &Error) -> bool {
    matches!(e, Error::Corrupt(c) if c.kind != Damage::Foreign)
}

/// Opens the copy that was read from this mirror, all of whose parts must be whole in it.
pub(super) fn check(mirror: &Mirror, copy: &Copy, look: Look<'_>) -> Result<()> {
    let mirrors = std::slice::from_ref(mirror);
    let mut parts = FromMirrors { mirrors, all: true, seen: None, torn: Vec::new() };
    let file = mirror.name();
    let data_key = unwrap(&file, copy, look.provider)?;
    match unseal(&file, copy, &data_key, look, &mut parts) {
        Ok(_) => Ok(()),
        Err(Unread::Body(e) | Unread::Part(e)) => Err(e),
    }
}

/// The generation that a mirror claims to hold; nothing if it holds none. It is not verified.
pub(super) fn claimed(mirror: &Mirror) -> Result<Option<u64>> {
    if let Some(named) = mirror.named_generation() {
        return named;
    }
    let Some(bytes) = mirror.read(PREFIX_BYTES)? else { return Ok(None) };
    Ok(Some(Outer::parse(&mirror.name(), &bytes)?.generation))
}

/// The newest generation that any mirror claims to hold. It is not verified; 0 if there is none.
pub(super) fn newest_claimed(mirrors: &[Mirror]) -> u64 {
    mirrors.iter().filter_map(|mirror| claimed(mirror).ok().flatten()).max().unwrap_or(0)
}

/// The same for who is to write to all of them. A bucket that is out of reach is told at once, before a version of the provider's key is spent; a
/// file that cannot be read can be replaced.
pub(super) fn newest_in_reach(mirrors: &[Mirror]) -> Result<u64> {
    let mut newest = 0;
    for mirror in mirrors {
        match claimed(mirror) {
            Ok(generation) => newest = newest.max(generation.unwrap_or(0)),
            Err(e @ Error::Io { .. }) if mirror.is_in_bucket() => return Err(e),
            Err(_) => {}
        }
    }
    Ok(newest)
}

/// The same for who must not go on without an answer: one mirror at least has to give it.
pub(super) fn newest_told(mirrors: &[Mirror]) -> Result<u64> {
    let (mut newest, mut failed): (Option<u64>, Option<Error>) = (None, None);
    for mirror in mirrors {
        match claimed(mirror) {
            Ok(generation) => newest = newest.max(generation),
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    newest.ok_or_else(|| failed.unwrap_or_else(|| missing(mirrors)))
}

/// Writes parts to a mirror that does not hold them, as another one does.
pub(super) fn mend(mirrors: &[Mirror], torn: &[Torn]) -> Result<()> {
    for torn in torn {
        if let (Some(mirror), Some(whole)) = (mirrors.get(torn.mirror), mirrors.get(torn.whole)) {
            mirror.write_parts(&[(torn.id, read_whole(whole, torn.id)?)])?;
        }
    }
    Ok(())
}

/// Writes the parts that a mirror lacks, from whichever other one holds them.
pub(super) fn fill(
    mirror: &Mirror,
    others: &[Mirror],
    parts: impl Iterator<Item = FileId>,
) -> Result<()> {
    let there: HashSet<FileId> = mirror.list_parts()?.into_iter().collect();
    for id in parts.filter(|id| !there.contains(id)) {
        let mut found = Err(Error::corrupt(&mirror.part_name(id), 0, Damage::Missing));
        for other in others.iter().filter(|other| other.path() != mirror.path()) {
            found = read_whole(other, id);
            if found.is_ok() {
                break;
            }
        }
        mirror.write_parts(&[(id, found?)])?;
    }
    Ok(())
}

/// Reads a part of which all is right that can be checked without its key.
fn read_whole(mirror: &Mirror, id: FileId) -> Result<Vec<u8>> {
    let mut bytes = mirror.read_part(id)?;
    part::check(&mirror.part_name(id), id, &mut bytes)?;
    Ok(bytes)
}
