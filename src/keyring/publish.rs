//! How a generation is published, and how the older ones are put beyond reach.
//!
//! # Why no older copy opens after a change
//!
//! Every generation has a version of the provider's key of its own. The provider made that version *for this store*, durably,
//! before anything was sealed under it. So whatever copies exist — in a mirror, beside one, half written and left by a crash, or
//! in a backup of any of them — each was sealed under a version that the provider itself lists for this store. When a
//! generation stands in every mirror, all versions below its own are destroyed; there is no list to keep that
//! a crash could lose.
//!
//! A version above the one in use is left alone by an open: it belongs to an attempt that did not end, or the keyring that was
//! opened is an older one, put in place by mistake, and then the newer must not be destroyed. The next
//! generation has a higher version than either and takes both with it.
//!
//! What an older generation named as its parts is dead with it, as their keys stand in it alone (see [`part`](super::part)). Their files
//! are removed then, which nothing depends on. Those that an open finds without a name are removed with the next
//! generation, for the reason above: they may belong to a newer one than that which was put in place.
//!
//! # Why a crash leaves a whole generation
//!
//! Nothing is replaced before all that is new is durable in every mirror; then buckets are replaced before files, for a bucket is
//! what is likeliest to be out of reach, and as long as no mirror has the new generation, nothing has changed. Until the last mirror is replaced and read back, the
//! version before is alive, and so is the new one; the mirrors hold one or the other, each whole, and the parts of both.
//! After that every mirror holds the new one. Nothing is destroyed in between. An open makes durable what it finds before it
//! destroys anything: a process that was killed may have left it to the system's memory.
//!
//! # What becomes of a change that failed half way
//!
//! It was answered with an error, this process goes on without it, and yet the next open would find it in the mirrors that have it. So the live
//! generation is published again, under a higher number ([`Keyring::supersede`]): at once where a mirror is known to have the new
//! one, else when all of them can be read. A process that dies before that leaves it to be found.

use std::collections::BTreeSet;
use std::io;

use super::coding::Sealer;
use super::mirror::{Mirror, NewPart, Written};
use super::mirrors::{self, Sealed};
use super::provider::{ProviderKind, Wrapped};
use super::state::State;
use super::status::VersionEnd;
use super::{Keyring, Stray, Writer, draw, file};
use crate::error::{Damage, Error, Result};
use crate::ids::{FileId, StoreId};
use crate::planted::{self, Bug};
use crate::{DataKey, Destruction, KeyProvider};

/// Seals a generation under a data key and a provider's version of its own, and writes it to all mirrors: when its new parts and
/// what names them are durable in all of them, beside what is there, it takes its place in one after the other. What it was
/// sealed as is noted before the first byte is written, for a failed attempt must be destroyed too.
pub(super) fn publish(keyring: &Keyring, writer: &mut Writer, state: &State) -> Result<()> {
    let (provider, random) = (&*keyring.provider, &*keyring.env.random);
    let (store, generation) = (state.store_id, state.generation);
    writer.tried = generation;
    let version = provider.new_version(&store)?;
    if provider.indestructible().is_none() && version <= writer.sealed.version {
        // It would be destroyed with the generation before, or that one would live on with it.
        let damage = Damage::Malformed("key version: the provider made one that is not new");
        return Err(Error::corrupt("key provider", 0, damage));
    }
    let data_key = DataKey::take(&mut draw(random)?);
    let aad = file::binding(&store, generation, provider.kind());
    let wrapped = Wrapped { version, bytes: provider.wrap(version, &data_key, &aad)? };
    let nonce = draw(random)?;
    let mut sealer = Sealer::new(random, store);
    let bytes = file::encode(state, provider.kind(), &wrapped, &data_key, &nonce, &mut sealer)?;
    let sealed = Sealed { store, generation, version, wrapped: wrapped.bytes, is_known: true };
    if planted::is(Bug::KeyDestroyedEarly) {
        let _ = provider.destroy(writer.sealed.version);
    }
    let written = write(keyring, writer, &sealer.made, &bytes);
    match written {
        Ok(()) => {
            let before = std::mem::replace(&mut writer.sealed, sealed);
            writer.older.push(before);
            writer.state_bytes = bytes.len() as u64;
            writer.leftovers.extend(&state.edit.dropped);
            (writer.stray, writer.asked) = (Stray::Nowhere, 0);
            writer.stray_holds.clear();
            Ok(())
        }
        Err(Failed { error, may_stand }) => {
            if may_stand {
                let live = keyring.live.read();
                let new = state.holds.keys().filter(|id| !live.holds.contains_key(*id));
                writer.stray_holds.extend(new);
            }
            // A key file has not many versions, and what no mirror can come to have needs none. With others' providers all before it may go, too.
            let is_gone = !may_stand
                && provider.kind() == ProviderKind::KeyFile
                && matches!(provider.destroy(version), Ok(Destruction::Destroyed { .. }));
            if !is_gone {
                writer.older.push(sealed);
            }
            Err(error)
        }
    }
}

/// A generation that could not be published.
struct Failed {
    error: Error,
    /// Whether it may stand in a mirror all the same, or come to stand there.
    may_stand: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, may_stand: false }
    }
}

fn write(
    keyring: &Keyring,
    writer: &mut Writer,
    made: &[NewPart],
    bytes: &[u8],
) -> Result<(), Failed> {
    complete(keyring, writer)?;
    let mirrors = &writer.mirrors;
    let written: Result<Vec<_>> = mirrors.iter().map(|m| m.write(made, bytes)).collect();
    let synced = written.and_then(|mut written| {
        written.iter_mut().try_for_each(Written::sync)?;
        Ok(written)
    });
    let new = || made.iter().map(|(id, _)| *id);
    let written = match synced {
        Ok(written) => written,
        Err(e) => {
            // Nothing names them yet, and a full disk needs the room.
            mirrors.iter().for_each(Mirror::remove_beside);
            let mut denied = vec![false; mirrors.len()];
            let stays = new().filter(|id| !is_removed(mirrors, &mut denied, *id));
            let stays: Vec<_> = stays.collect();
            writer.leftovers.extend(stays);
            return Err(e.into());
        }
    };
    let (replaced, settled) = replace(&written);
    let Err(e) = settled else { return Ok(()) };
    mirrors.iter().for_each(Mirror::remove_beside);
    // A mirror may name them: they stay until the next generation is in its place.
    writer.leftovers.extend(new());
    let stray = if replaced > 0 { Stray::There } else { Stray::Perhaps };
    if stray > writer.stray {
        (writer.stray, writer.asked) = (stray, 0);
    }
    Err(Failed { error: e, may_stand: true })
}

/// Puts a generation in its place in all mirrors, buckets first; also in how many it certainly is.
fn replace(written: &[Written<'_>]) -> (usize, Result<()>) {
    let (buckets, files): (Vec<_>, Vec<_>) = written.iter().partition(|one| one.is_in_bucket());
    let mut replaced = 0;
    let outcome: Result<()> = buckets.into_iter().chain(files).try_for_each(|one| {
        one.replace()?;
        replaced += 1;
        Ok(())
    });
    (replaced, outcome.and_then(|()| written.iter().try_for_each(Written::settle)))
}

/// Brings the parts of the live generation into mirrors that are not where this process left them: one may be another disk by
/// now, which holds nothing.
fn complete(keyring: &Keyring, writer: &Writer) -> Result<()> {
    let state = keyring.live.read().clone();
    if state.parts().next().is_none() {
        return Ok(());
    }
    let current = writer.sealed.generation;
    let is_current =
        |mirror: &Mirror| matches!(mirrors::claimed(mirror), Ok(Some(at)) if at == current);
    let mut behind = writer.mirrors.iter().filter(|mirror| !is_current(mirror));
    behind.try_for_each(|mirror| mirrors::fill(mirror, &writer.mirrors, state.parts()))
}

/// Removes parts that no generation in use names. None of them opens any more; what cannot be removed is tried again.
pub(super) fn remove_leftovers(writer: &mut Writer) {
    let mut denied = vec![false; writer.mirrors.len()];
    writer.leftovers.retain(|id| !is_removed(&writer.mirrors, &mut denied, *id));
}

/// Removes a part from all mirrors; whether it is gone from them. A mirror that lets nothing be removed, as a bucket under object lock, is asked
/// once: a refused request for each part of its past would be more with every change.
fn is_removed(mirrors: &[Mirror], denied: &mut [bool], id: FileId) -> bool {
    let mut is_gone = true;
    for (mirror, denied) in mirrors.iter().zip(denied) {
        let removed = if *denied {
            false
        } else {
            let removed = mirror.remove_part(id);
            *denied = removed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
            removed.is_ok()
        };
        is_gone &= removed;
    }
    is_gone
}

/// Parts in the mirrors that a generation does not name.
pub(super) fn leftovers(mirrors: &[Mirror], state: &State) -> BTreeSet<FileId> {
    // What cannot be listed is not removed, either.
    let there = mirrors.iter().flat_map(|mirror| mirror.list_parts().unwrap_or_default());
    let mut leftovers: BTreeSet<FileId> = there.collect();
    if !leftovers.is_empty() {
        state.parts().for_each(|id| {
            leftovers.remove(&id);
        });
    }
    leftovers
}

/// Destroys every version older than the one in use, and proves that the copies sealed under them are dead. An error does not
/// undo a change that was published: it is told here, and tried again the next time.
pub(super) fn destroy_older(provider: &dyn KeyProvider, writer: &mut Writer) -> Vec<VersionEnd> {
    let current = writer.sealed.version;
    if let Some(why) = provider.indestructible() {
        writer.older.clear();
        let destruction = Ok(Destruction::Impossible { why });
        return vec![VersionEnd { version: current, destruction, proven: false }];
    }
    // The version that an unknown copy claims may be another store's, which shares the provider.
    let known = writer.older.iter().filter(|copy| copy.is_known);
    let mut versions: BTreeSet<u32> = known.map(|copy| copy.version).collect();
    versions.append(&mut writer.alive.clone());
    // When it does not answer, those that are known are still tried; it will be asked again.
    versions.extend(provider.versions(&writer.sealed.store).unwrap_or_default());
    versions.retain(|version| *version < current);
    let ends: Vec<_> = versions.into_iter().map(|v| destroy(provider, &writer.older, v)).collect();
    let alive = ends.iter().filter(|end| !end.is_destroyed());
    writer.alive = alive.map(|end| end.version).collect();
    let alive = &writer.alive;
    writer.older.retain(|copy| copy.version > current || alive.contains(&copy.version));
    ends
}

fn destroy(provider: &dyn KeyProvider, older: &[Sealed], version: u32) -> VersionEnd {
    let mut destruction = provider.destroy(version).map_err(|e| e.to_string());
    let mut copies = older.iter().filter(|copy| copy.version == version).peekable();
    let known = copies.peek().is_some();
    let opens = copies.any(|copy| copy.opens(provider));
    if opens && matches!(destruction, Ok(Destruction::Destroyed { .. })) {
        destruction = Err("the provider says so, but an older copy still opens".to_owned());
    }
    let proven = known && matches!(destruction, Ok(Destruction::Destroyed { .. }));
    VersionEnd { version, destruction, proven }
}

impl Sealed {
    /// Whether the provider still unwraps it. What cannot be told is taken for yes.
    pub(super) fn opens(&self, provider: &dyn KeyProvider) -> bool {
        let aad = file::binding(&self.store, self.generation, provider.kind());
        !matches!(
            provider.unwrap_key(self.version, &self.wrapped, &aad),
            Err(Error::MissingKeyVersion(_) | Error::WrongKey(_))
        )
    }

    /// Of a keyring that has not been written yet.
    pub(super) fn nothing(store: StoreId) -> Self {
        Self { store, generation: 0, version: 0, wrapped: Vec::new(), is_known: true }
    }
}
