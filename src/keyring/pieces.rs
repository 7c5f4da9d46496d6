//! Lists that are kept in pieces: the nodes of a tree, and the sites.
//!
//! A list is a tree of pieces. Those at the bottom hold its items, those above them the pieces below; each covers all places
//! below one prefix, and a piece that gets too large is split in halves at the next bit. The topmost piece is part
//! of whatever holds the list; every other one becomes a sealed [part](super::part) of its own on disk.
//!
//! Pieces never change and are shared: a change makes those on the path from it to the top anew, and what is beside the
//! path is neither copied nor sealed again. So a copy of a list costs nothing, and a change as much as it is deep.
//!
//! Pieces are not joined again when they get small. A tree only grows with what is removed from it, and the handles of sites are
//! random, so pieces are half full or better until most sites are erased.

use std::sync::Arc;

use super::part::{PART_REF_BYTES, Part};
use super::place::{LEVELS, Place, Placed, covering};
use super::shape::shape_bytes;
use crate::ids::FileId;
use crate::sync::OnceLock;

/// Bytes up to which a piece stays whole: some thirty erased sessions, or some five hundred sites. A change writes two or three of
/// these, which takes less than their syncs; and a list of a million parts is three pieces deep.
pub(crate) const PART_BYTES: usize = 64 << 10;
/// Fewest bytes at which pieces can be told to split, in tests: the references of a few parts.
pub(super) const PART_BYTES_MIN: usize = 512;
/// Longest varint of a length.
pub(super) const LENGTH_BYTES_MAX: usize = 10;

/// What a list is of.
pub(super) trait Item: Placed + Clone {
    /// Fewest bytes of one.
    const BYTES_MIN: usize;

    /// Upper bound of the bytes that items take in a piece at `place`.
    fn bytes_max(place: Place, items: &[Self]) -> usize;

    /// Upper bound of the bytes of the parts that belong to an item alone.
    fn below_bytes_max(&self) -> u64 {
        0
    }
}

/// How lists are changed: when pieces are split, and which parts were replaced.
#[derive(Clone)]
pub(super) struct Editing {
    pub(super) part_bytes: usize,
    /// Parts that the generation before has and this one has not.
    pub(super) dropped: Vec<FileId>,
}

impl Editing {
    pub(super) fn new(part_bytes: usize) -> Self {
        Self { part_bytes: part_bytes.max(PART_BYTES_MIN), dropped: Vec::new() }
    }

    fn drop<T>(&mut self, piece: &Piece<T>) {
        self.dropped.extend(piece.part.get().map(|part| part.id));
    }
}

pub(super) enum Content<T> {
    Items(Vec<T>),
    Pieces(Vec<Arc<Piece<T>>>),
}

/// A piece of a list.
pub(super) struct Piece<T> {
    place: Place,
    /// 0 holds items; any other holds pieces that are one lower.
    height: u8,
    content: Content<T>,
    items: usize,
    /// Upper bounds of its own bytes, and of those of all parts below it.
    bytes_max: usize,
    below_bytes_max: u64,
    /// Where it stands on disk, once it was sealed. On the heap, so that its key is not moved.
    part: OnceLock<Box<Part>>,
}

impl<T> Placed for Arc<Piece<T>> {
    fn place(&self) -> Place {
        self.place
    }
}

impl<T: Item> Content<T> {
    /// Without anything, for a piece of this height.
    fn empty(height: u8) -> Self {
        if height == 0 { Self::Items(Vec::new()) } else { Self::Pieces(Vec::new()) }
    }

    fn len(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Pieces(pieces) => pieces.len(),
        }
    }

    fn bytes_min(&self) -> usize {
        match self {
            Self::Items(items) => items.len() * T::BYTES_MIN,
            Self::Pieces(pieces) => pieces.len() * PART_REF_BYTES,
        }
    }

    /// What is in the lower and in the upper half of a place.
    fn halves(self, place: Place) -> (Self, Self) {
        fn halves<P: Placed>(place: Place, mut all: Vec<P>) -> (Vec<P>, Vec<P>) {
            let is_low = |one: &P| place.turn(one.place().first()) == 0;
            let high = all.split_off(all.partition_point(is_low));
            (all, high)
        }
        match self {
            Self::Items(items) => {
                let (low, high) = halves(place, items);
                (Self::Items(low), Self::Items(high))
            }
            Self::Pieces(pieces) => {
                let (low, high) = halves(place, pieces);
                (Self::Pieces(low), Self::Pieces(high))
            }
        }
    }
}

impl<T: Item> Piece<T> {
    pub(super) fn new(place: Place, height: u8, content: Content<T>) -> Self {
        let (items, bytes_max, below_bytes_max) = match &content {
            Content::Items(items) => {
                let below = items.iter().map(T::below_bytes_max).sum();
                (items.len(), T::bytes_max(place, items), below)
            }
            Content::Pieces(pieces) => {
                let own = |piece: &Arc<Self>| piece.bytes_max as u64 + piece.below_bytes_max;
                let bytes = LENGTH_BYTES_MAX + shape_bytes(place, LEVELS, pieces);
                let bytes = bytes + pieces.len() * PART_REF_BYTES;
                let items = pieces.iter().map(|piece| piece.items).sum();
                (items, bytes, pieces.iter().map(own).sum())
            }
        };
        Self { place, height, content, items, bytes_max, below_bytes_max, part: OnceLock::new() }
    }

    /// One that is on disk.
    pub(super) fn of_part(place: Place, height: u8, content: Content<T>, part: Box<Part>) -> Self {
        Self { part: part.into(), ..Self::new(place, height, content) }
    }

    pub(super) fn height(&self) -> u8 {
        self.height
    }

    pub(super) fn content(&self) -> &Content<T> {
        &self.content
    }

    pub(super) fn part(&self) -> &OnceLock<Box<Part>> {
        &self.part
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &T> + '_> {
        match &self.content {
            Content::Items(items) => Box::new(items.iter()),
            Content::Pieces(pieces) => Box::new(pieces.iter().flat_map(|piece| piece.iter())),
        }
    }

    /// All pieces below this one.
    fn below(&self) -> Box<dyn Iterator<Item = &Arc<Self>> + '_> {
        match &self.content {
            Content::Items(_) => Box::new(std::iter::empty()),
            Content::Pieces(pieces) => {
                Box::new(pieces.iter().flat_map(|p| std::iter::once(p).chain(p.below())))
            }
        }
    }

    fn find(&self, at: u64) -> Option<&T> {
        match &self.content {
            Content::Items(items) => items.get(covering(items, at)?),
            Content::Pieces(pieces) => pieces.get(covering(pieces, at)?)?.find(at),
        }
    }

    /// The content with the items that cover any of these places, in order, replaced by what `make` appends for each.
    fn edited(&self, mut at: &[u64], edit: &mut Editing, make: Make<'_, T>) -> Content<T> {
        let mut here = |place: Place| {
            at = &at[at.partition_point(|at| *at < place.first())..];
            let (here, beyond) = at.split_at(at.partition_point(|at| *at <= place.last()));
            at = beyond;
            here
        };
        match &self.content {
            Content::Items(items) => {
                let mut out = Vec::with_capacity(items.len() + usize::from(LEVELS));
                for item in items {
                    match here(item.place()) {
                        [] => out.push(item.clone()),
                        here => make(item, here, &mut out),
                    }
                }
                Content::Items(out)
            }
            Content::Pieces(pieces) => {
                let mut out = Vec::with_capacity(pieces.len() + 1);
                for piece in pieces {
                    match here(piece.place) {
                        [] => out.push(Arc::clone(piece)),
                        here => {
                            edit.drop(piece);
                            let content = piece.edited(here, edit, make);
                            settle(piece.place, piece.height, content, edit, &mut out);
                        }
                    }
                }
                Content::Pieces(out)
            }
        }
    }

    /// The content with one more item, whose place nothing covers.
    fn with(&self, item: T, edit: &mut Editing) -> Content<T> {
        let at = item.place().first();
        match &self.content {
            Content::Items(items) => {
                let mut items = items.clone();
                items.insert(items.partition_point(|other| other.place().first() < at), item);
                Content::Items(items)
            }
            Content::Pieces(pieces) => {
                let mut made = Vec::new();
                let range = if let Some(i) = covering(pieces, at) {
                    let piece = &pieces[i];
                    edit.drop(piece);
                    settle(piece.place, piece.height, piece.with(item, edit), edit, &mut made);
                    i..i + 1
                } else {
                    let (place, height) = (gap(self.place, pieces, at), self.height - 1);
                    let piece = Self::new(place, height, Content::empty(height));
                    settle(place, height, piece.with(item, edit), edit, &mut made);
                    let i = pieces.partition_point(|piece| piece.place.first() <= at);
                    i..i
                };
                let mut pieces = pieces.clone();
                pieces.splice(range, made);
                Content::Pieces(pieces)
            }
        }
    }
}

/// What becomes of an item that covers these places.
type Make<'a, T> = &'a mut dyn FnMut(&T, &[u64], &mut Vec<T>);

/// The largest place around `at` that none of the pieces covers in part.
fn gap<T>(all: Place, pieces: &[Arc<Piece<T>>], at: u64) -> Place {
    let mut place = all;
    while pieces.iter().any(|piece| place.contains(piece.place)) {
        place = place.half(place.turn(at));
    }
    place
}

/// Appends what a piece becomes: nothing if it is empty, itself, or its halves if it is too large.
fn settle<T: Item>(
    place: Place,
    height: u8,
    content: Content<T>,
    edit: &Editing,
    out: &mut Vec<Arc<Piece<T>>>,
) {
    let mut split = |content: Content<T>| {
        let (low, high) = content.halves(place);
        settle(place.half(0), height, low, edit, out);
        settle(place.half(1), height, high, edit, out);
    };
    let len = content.len();
    // Seen without a look at every item, of which a bulk erasure makes very many.
    if len > 1 && content.bytes_min() > edit.part_bytes {
        return split(content);
    }
    let piece = Piece::new(place, height, content);
    match len {
        0 => {}
        2.. if piece.bytes_max > edit.part_bytes => split(piece.content),
        _ => out.push(Arc::new(piece)),
    }
}

/// A list, as its topmost piece.
pub(super) struct Pieces<T>(Arc<Piece<T>>);

impl<T> Clone for Pieces<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item> Pieces<T> {
    /// A list in one piece.
    pub(super) fn of(items: Vec<T>) -> Self {
        Self::from(0, Content::Items(items))
    }

    pub(super) fn from(height: u8, content: Content<T>) -> Self {
        Self(Arc::new(Piece::new(Place::ROOT, height, content)))
    }

    pub(super) fn top(&self) -> &Piece<T> {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.items
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// All pieces but the topmost.
    pub(super) fn below(&self) -> impl Iterator<Item = &Arc<Piece<T>>> {
        self.0.below()
    }

    /// Upper bound of the bytes of all parts below the topmost piece.
    pub(super) fn below_bytes_max(&self) -> u64 {
        self.0.below_bytes_max
    }

    /// Whether both are the same list, not only equal ones.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The item that covers a place.
    pub(super) fn find(&self, at: u64) -> Option<&T> {
        self.0.find(at)
    }

    /// Replaces the items that cover these places, which are in order and all covered, by what `make` appends for each.
    pub(super) fn edit(&mut self, at: &[u64], edit: &mut Editing, make: Make<'_, T>) {
        let content = self.0.edited(at, edit, make);
        self.settle(content, edit);
    }

    /// Adds an item at a place that nothing covers.
    pub(super) fn insert(&mut self, item: T, edit: &mut Editing) {
        let content = self.0.with(item, edit);
        self.settle(content, edit);
    }

    /// Notes that all parts are dropped.
    pub(super) fn drop_all(&self, edit: &mut Editing) {
        self.below().for_each(|piece| edit.drop(piece));
    }

    /// Items of pieces that the other list does not have. Those that both share are passed over without a look.
    pub(super) fn iter_without(&self, other: &Self) -> impl Iterator<Item = &T> {
        let shared: std::collections::HashSet<_> =
            std::iter::once(&other.0).chain(other.below()).map(Arc::as_ptr).collect();
        let bottom = std::iter::once(&self.0).chain(self.below());
        let own = bottom.filter(move |piece| !shared.contains(&Arc::as_ptr(piece)));
        own.flat_map(|piece| match &piece.content {
            Content::Items(items) => &items[..],
            Content::Pieces(_) => &[],
        })
    }

    /// Takes over the topmost piece's content; what is too large for it goes into pieces below.
    fn settle(&mut self, content: Content<T>, edit: &Editing) {
        let height = if content.len() == 0 { 0 } else { self.0.height };
        let content = if content.len() == 0 { Content::empty(0) } else { content };
        let mut top = Piece::new(Place::ROOT, height, content);
        while top.bytes_max > edit.part_bytes && top.content.len() > 1 {
            let mut below = Vec::new();
            settle(Place::ROOT, top.height, top.content, edit, &mut below);
            top = Piece::new(Place::ROOT, top.height + 1, Content::Pieces(below));
        }
        *self = Self(Arc::new(top));
    }
}
