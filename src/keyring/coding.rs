//! Lists on their way to disk and back: what stands in the body of the keyring, and what in parts. No input or output of its own.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::mirror::NewPart;
use super::part::{self, Of, PART_REF_BYTES, Part, Stand};
use super::pieces::{Content, Item, Piece, Pieces};
use super::place::{LEVELS, Place, Placed};
use super::shape::{places, shape};
use super::site::Record;
use super::state::State;
use super::tree::Node;
use crate::env::Random;
use crate::error::{Damage, Error, Result};
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{FileId, StoreId};
use crate::limits::STATE_BYTES_MAX;

/// Most pieces above one another. Two hold more parts than a keyring may have bytes.
const HEIGHT_MAX: u8 = 8;

/// An item that is written and read.
pub(super) trait Coded: Item {
    fn encode_items(
        place: Place,
        items: &[Self],
        out: &mut Vec<u8>,
        sealer: &mut Sealer<'_>,
    ) -> Result<()>;

    fn decode_items(
        place: Place,
        take: &mut Take<'_>,
        loader: &mut Loader<'_>,
    ) -> Result<Vec<Self>, Failed>;

    /// The pieces of a generation that was loaded before.
    fn known(before: &Before) -> &HashMap<FileId, Arc<Piece<Self>>>;
}

/// Seals the parts that are new.
pub(super) struct Sealer<'a> {
    random: &'a dyn Random,
    store: StoreId,
    /// What is to be written.
    pub(super) made: Vec<NewPart>,
}

impl<'a> Sealer<'a> {
    pub(super) fn new(random: &'a dyn Random, store: StoreId) -> Self {
        Self { random, store, made: Vec::new() }
    }

    /// Appends what a piece holds, after its parts were sealed.
    pub(super) fn encode<T: Coded>(
        &mut self,
        piece: &Piece<T>,
        place: Place,
        of: Of,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let pieces = match piece.content() {
            Content::Items(items) => return T::encode_items(place, items, out, self),
            Content::Pieces(pieces) => pieces,
        };
        out.put_bytes(&shape(place, LEVELS, pieces));
        for below in pieces {
            self.part(below, of)?.encode(out);
        }
        Ok(())
    }

    /// The part that a piece is, sealed now if it has not been.
    fn part<'p, T: Coded>(&mut self, piece: &'p Arc<Piece<T>>, of: Of) -> Result<&'p Part> {
        if let Some(part) = piece.part().get() {
            return Ok(part);
        }
        let stand = Stand { store: self.store, of, place: piece.place(), height: piece.height() };
        let random = self.random;
        let (part, bytes) = part::seal(random, &stand, piece.bytes_max(), |out| {
            self.encode(piece, stand.place, of, out)
        })?;
        self.made.push((part.id, bytes));
        Ok(piece.part().get_or_init(|| Box::new(part)))
    }
}

/// Where sealed parts are found.
pub(super) trait Parts {
    /// The text of a part, and what its file is called.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is nowhere whole; errors of the system.
    fn read(&mut self, part: &Part, stand: &Stand) -> Result<(Zeroizing<Vec<u8>>, String)>;
}

/// Why a list could not be read.
#[derive(Debug)]
pub(super) enum Failed {
    /// What was to be decoded breaks a rule.
    Malformed(Malformed),
    /// A part of it.
    Part(Error),
}

impl From<Malformed> for Failed {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A generation that is in memory. What the next one shares with it is not read again.
pub(super) struct Before {
    pub(super) state: State,
    sites: HashMap<FileId, Arc<Piece<Record>>>,
    trees: HashMap<FileId, Arc<Piece<Node>>>,
}

impl Before {
    pub(super) fn of(state: &State) -> Self {
        let mut trees = HashMap::new();
        for record in state.sites.iter() {
            known(record.tree.pieces(), &mut trees);
        }
        let mut sites = HashMap::new();
        known(&state.sites, &mut sites);
        Self { state: state.clone(), sites, trees }
    }

    pub(super) fn sites(&self) -> &HashMap<FileId, Arc<Piece<Record>>> {
        &self.sites
    }

    pub(super) fn trees(&self) -> &HashMap<FileId, Arc<Piece<Node>>> {
        &self.trees
    }
}

fn known<T: Item>(pieces: &Pieces<T>, into: &mut HashMap<FileId, Arc<Piece<T>>>) {
    let parts = pieces.below().filter_map(|p| Some((p.part().get()?.id, Arc::clone(p))));
    into.extend(parts);
}

/// Reads lists, and the parts that they name.
pub(super) struct Loader<'a> {
    parts: &'a mut dyn Parts,
    pub(super) before: Option<&'a Before>,
    /// Known when the body has been read so far.
    pub(super) store: StoreId,
    bytes: usize,
}

impl<'a> Loader<'a> {
    pub(super) fn new(parts: &'a mut dyn Parts, before: Option<&'a Before>) -> Self {
        Self { parts, before, store: StoreId([0; 16]), bytes: 0 }
    }

    /// Reads a list of this height.
    pub(super) fn list<T: Coded>(
        &mut self,
        height: u8,
        of: Of,
        take: &mut Take<'_>,
    ) -> Result<Pieces<T>, Failed> {
        if height > HEIGHT_MAX {
            return Err(Malformed("levels of parts").into());
        }
        Ok(Pieces::from(height, self.content(height, Place::ROOT, of, take)?))
    }

    fn content<T: Coded>(
        &mut self,
        height: u8,
        place: Place,
        of: Of,
        take: &mut Take<'_>,
    ) -> Result<Content<T>, Failed> {
        if height == 0 {
            return Ok(Content::Items(T::decode_items(place, take, self)?));
        }
        let len = take.count(1, "shape of parts")?;
        let places = places(take.bytes(len, "shape of parts")?, place, LEVELS)?;
        let parts = take.bytes(places.len() * PART_REF_BYTES, "parts")?;
        let mut parts = Take::new(parts);
        let mut pieces = Vec::with_capacity(places.len());
        for place in places {
            let part = Box::new(Part::decode(&mut parts)?);
            let stand = Stand { store: self.store, of, place, height: height - 1 };
            pieces.push(self.piece(part, &stand)?);
        }
        if pieces.is_empty() {
            return Err(Malformed("parts").into());
        }
        Ok(Content::Pieces(pieces))
    }

    fn piece<T: Coded>(&mut self, part: Box<Part>, stand: &Stand) -> Result<Arc<Piece<T>>, Failed> {
        self.bytes = self.bytes.saturating_add(part.bytes as usize);
        if self.bytes > STATE_BYTES_MAX {
            return Err(Malformed("size of the keyring").into());
        }
        let known = self.before.and_then(|before| T::known(before).get(&part.id));
        let fits = |p: &&Arc<Piece<T>>| p.place() == stand.place && p.height() == stand.height;
        if let Some(known) = known.filter(fits) {
            return Ok(Arc::clone(known));
        }
        let (text, file) = self.parts.read(&part, stand).map_err(Failed::Part)?;
        let mut take = Take::new(&text);
        let content = self.content(stand.height, stand.place, stand.of, &mut take);
        let content = content.and_then(|content| {
            take.end("end of a part")?;
            Ok(content)
        });
        let content = content.map_err(|failed| match failed {
            Failed::Malformed(m) => Failed::Part(Error::corrupt(&file, 0, Damage::Malformed(m.0))),
            part => part,
        })?;
        Ok(Arc::new(Piece::of_part(stand.place, stand.height, content, part)))
    }
}
