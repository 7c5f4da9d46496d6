//! The puncturable tree: a key for each of 2^depth leaves, of which any can be removed for good.
//!
//! # Why a removed leaf is gone
//!
//! The tree is that of Goldreich, Goldwasser and Micali (1986): a node gives its two children by a
//! pseudorandom function, here HMAC-SHA-256 in the counter form of SP 800-108, and whoever holds a node
//! derives every leaf below it and nothing else. The state is a set of nodes.
//!
//! 1. *The nodes of a state cover disjoint ranges of leaves.* It is so at first, with the root alone, and
//!    the bytes of a state cannot say anything else: they walk the tree and end at each node that is left. So at
//!    most one node leads to a given leaf.
//! 2. *Puncturing replaces that node by the siblings of the path from it to the leaf.* Together they cover its
//!    range but for the one leaf; none is an ancestor of the leaf. So 1 stays true, and no kept node leads there.
//! 3. *The kept nodes tell nothing of it.* Walk down the path: as the node above is unknown, its two children are
//!    two independent random values to anyone who cannot tell HMAC-SHA-256 from a random function. One of
//!    them is kept, the other is the next node of the path and as unknown as the first. After at most `depth` steps
//!    that holds for the leaf. Order does not matter: a later puncture only takes away more.
//! 4. *A node is never used as a key.* The key of a leaf is one more derivation, under another label, so a leaf that
//!    stands in the state as a sibling at the lowest level is no exception.
//! 5. *Removing many at once gives the same state.* A node above any of the leaves is replaced by its two children, and
//!    so on downwards; a node above none of them is kept, and a node that is one of them is dropped. What is kept are the topmost
//!    nodes below which nothing is removed, and that is what removing them one by one leaves, in any order. A node is
//!    derived once, however many leaves below it go.
//! 6. *Removing a prefix* `0..=leaf` *keeps the right-hand siblings of the path to* `leaf` *alone.* The left-hand ones
//!    cover leaves below it and are dropped, the right-hand ones cover all leaves above it. The state that removing
//!    them one by one would leave is the same one; it has at most `depth` nodes, however many leaves are gone.
//!
//! This is the construction of Backendal, Günther and Paterson, "Puncturable Key Wrapping and Its Applications"
//! (2022). What it does not reach is an older copy of the state: that none can be opened is the business of
//! the keyring and its provider.

use std::collections::HashMap;
use std::sync::Arc;

use super::coding::{Before, Coded, Failed, Loader, Sealer};
use super::part::Of;
use super::pieces::{Content, Editing, Item, LENGTH_BYTES_MAX, Piece, Pieces};
use super::place::{LEVELS, Place, Placed};
use super::shape::{places, shape, shape_bytes};
use super::walk::Walk;
use crate::crypto::{Key, kdf};
use crate::error::Result;
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::FileId;

/// Levels of the time tree: a leaf for each expiry day until the year 47,900.
pub(crate) const TIME_DEPTH: u8 = 24;
/// Levels of a site's tree: the first 64 bits of a session tag.
pub(crate) const SITE_DEPTH: u8 = LEVELS;
/// Fewest bytes of a tree on disk: depth, and a shape of one byte.
pub(super) const TREE_BYTES_MIN: usize = 1 + 1 + 1;

const LEAF: &str = "reelvault/leaf";

/// A tree, as the nodes that are left of it. Copies share them.
///
/// The leaves of a tree that is less deep than 64 levels stand at the beginning of as many places.
#[derive(Clone)]
pub(crate) struct Tree {
    depth: u8,
    nodes: Pieces<Node>,
}

/// A node that is left, and all leaves below it.
#[derive(Clone)]
pub(super) struct Node {
    place: Place,
    /// On the heap, so that it stays where it is when nodes are moved: a key that is moved leaves a copy behind, which
    /// nothing wipes. Shared by all generations that have this node.
    key: Arc<Key>,
}

impl Placed for Node {
    fn place(&self) -> Place {
        self.place
    }
}

impl Item for Node {
    const BYTES_MIN: usize = Key::BYTES;

    fn bytes_max(place: Place, nodes: &[Self]) -> usize {
        LENGTH_BYTES_MAX + shape_bytes(place, LEVELS, nodes) + nodes.len() * Key::BYTES
    }
}

impl Coded for Node {
    fn encode_items(
        place: Place,
        nodes: &[Self],
        out: &mut Vec<u8>,
        _: &mut Sealer<'_>,
    ) -> Result<()> {
        encode(place, LEVELS, nodes, out);
        Ok(())
    }

    fn decode_items(
        place: Place,
        take: &mut Take<'_>,
        _: &mut Loader<'_>,
    ) -> Result<Vec<Self>, Failed> {
        Ok(decode(place, LEVELS, take)?)
    }

    fn known(before: &Before) -> &HashMap<FileId, Arc<Piece<Self>>> {
        before.trees()
    }
}

fn encode(place: Place, depth: u8, nodes: &[Node], out: &mut Vec<u8>) {
    out.put_bytes(&shape(place, depth, nodes));
    nodes.iter().for_each(|node| out.put(node.key.expose()));
}

fn decode(place: Place, depth: u8, take: &mut Take<'_>) -> Result<Vec<Node>, Malformed> {
    let len = take.count(1, "tree shape")?;
    let places = places(take.bytes(len, "tree shape")?, place, depth)?;
    let mut keys = Take::new(take.bytes(places.len() * Key::BYTES, "tree node keys")?);
    let mut nodes = Vec::with_capacity(places.len());
    for place in places {
        let key = Arc::new(Key::take(&mut keys.array("tree node keys")?));
        nodes.push(Node { place, key });
    }
    Ok(nodes)
}

impl Tree {
    /// A whole tree of at most 64 levels.
    pub(crate) fn new(depth: u8, root: Key) -> Self {
        debug_assert!(depth <= LEVELS, "leaves are numbered in 64 bits");
        let nodes = Pieces::of(vec![Node { place: Place::ROOT, key: Arc::new(root) }]);
        Self { depth, nodes }
    }

    /// A tree without a leaf: what stays of a site that was erased.
    pub(crate) fn bare(depth: u8) -> Self {
        Self { depth, nodes: Pieces::of(Vec::new()) }
    }

    /// Where a leaf stands; nothing if it lies beyond the tree.
    fn at(&self, leaf: u64) -> Option<u64> {
        let beyond = leaf.checked_shr(self.depth.into()).unwrap_or(0);
        (beyond == 0).then(|| leaf.checked_shl(u32::from(LEVELS - self.depth)).unwrap_or(0))
    }

    /// Whether a leaf is there.
    pub(crate) fn has(&self, leaf: u64) -> bool {
        self.at(leaf).is_some_and(|at| self.nodes.find(at).is_some())
    }

    /// The key of a leaf; none if it was removed, or lies beyond the tree.
    pub(crate) fn leaf(&self, leaf: u64) -> Option<Key> {
        let at = self.at(leaf)?;
        let node = self.nodes.find(at)?;
        let mut walk = Walk::from(&node.key);
        let mut place = node.place;
        while place.level() < self.depth {
            let bit = place.turn(at);
            walk.down(bit);
            place = place.half(bit);
        }
        Some(kdf(&walk.node(), LEAF, &[]))
    }

    /// Removes leaves, all at once; how many of them were there.
    pub(super) fn puncture(&mut self, leaves: &[u64], edit: &mut Editing) -> usize {
        let mut at: Vec<u64> = leaves.iter().filter_map(|leaf| self.at(*leaf)).collect();
        at.sort_unstable();
        at.dedup();
        at.retain(|at| self.nodes.find(*at).is_some());
        if !at.is_empty() {
            let depth = self.depth;
            self.nodes.edit(&at, edit, &mut |node, at, left| split(depth, node, at, left));
        }
        at.len()
    }

    /// Removes all leaves from 0 to this one. For trees that are never in parts: all of it is looked at.
    pub(crate) fn puncture_through(&mut self, leaf: u64) {
        // Beyond the last leaf there is none to be kept.
        let at = self.at(leaf).unwrap_or(u64::MAX);
        let mut left = Vec::with_capacity(self.nodes.len() + usize::from(self.depth));
        for node in self.nodes.iter() {
            if node.place.first() > at {
                left.push(node.clone());
            } else if node.place.last() > at {
                let mut beyond = Vec::new();
                let mut path = node.clone();
                while path.place.level() < self.depth {
                    let bit = path.place.turn(at);
                    if bit == 0 {
                        beyond.push(path.child(1));
                    }
                    path = path.child(bit);
                }
                // The higher a sibling stands, the higher are its leaves.
                left.extend(beyond.into_iter().rev());
            }
        }
        self.nodes = Pieces::of(left);
    }

    /// How many nodes are left.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn pieces(&self) -> &Pieces<Node> {
        &self.nodes
    }

    /// Whether both are the same tree, not only equal ones.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.nodes.is(&other.nodes)
    }

    /// How many levels of parts it is kept in.
    pub(super) fn height(&self) -> u8 {
        self.nodes.top().height()
    }

    /// Upper bound of the bytes that encoding appends, without parts.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        1 + self.nodes.top().bytes_max()
    }

    /// Appends a tree, of which a part may be in parts: then what names them.
    pub(super) fn encode(&self, of: Of, out: &mut Vec<u8>, sealer: &mut Sealer<'_>) -> Result<()> {
        match self.nodes.top().content() {
            Content::Items(nodes) => {
                out.put_u8(self.depth);
                encode(Place::ROOT, self.depth, nodes, out);
                Ok(())
            }
            Content::Pieces(_) => sealer.encode(self.nodes.top(), Place::ROOT, of, out),
        }
    }

    /// Reads a tree that is in no parts and must have this depth.
    pub(crate) fn decode(depth: u8, take: &mut Take<'_>) -> Result<Self, Malformed> {
        if take.u8("tree depth")? != depth {
            return Err(Malformed("tree depth"));
        }
        Ok(Self { depth, nodes: Pieces::of(decode(Place::ROOT, depth, take)?) })
    }

    /// Reads a tree that may be in parts, of so many levels.
    pub(super) fn load(
        depth: u8,
        height: u8,
        of: Of,
        take: &mut Take<'_>,
        loader: &mut Loader<'_>,
    ) -> Result<Self, Failed> {
        match height {
            0 => Ok(Self::decode(depth, take)?),
            _ => Ok(Self { depth, nodes: loader.list(height, of, take)? }),
        }
    }
}

impl Node {
    fn child(&self, bit: u8) -> Self {
        let mut walk = Walk::from(&self.key);
        walk.down(bit);
        Self { place: self.place.half(bit), key: Arc::new(walk.node()) }
    }
}

/// Appends what is left of a node when what is at these places below it, in order, is removed.
fn split(depth: u8, node: &Node, at: &[u64], left: &mut Vec<Node>) {
    if at.is_empty() {
        left.push(node.clone());
    } else if node.place.level() < depth {
        let (low, high) = at.split_at(at.partition_point(|at| node.place.turn(*at) == 0));
        split(depth, &node.child(0), low, left);
        split(depth, &node.child(1), high, left);
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
