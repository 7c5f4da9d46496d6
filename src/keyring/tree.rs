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

use std::sync::Arc;

use super::walk::Walk;
use crate::crypto::{Key, kdf};
use crate::format::codec::{Malformed, Put, Take};

/// Levels of the time tree: a leaf for each expiry day until the year 47,900.
pub(crate) const TIME_DEPTH: u8 = 24;
/// Levels of a site's tree: the first 64 bits of a session tag.
pub(crate) const SITE_DEPTH: u8 = 64;
/// Fewest bytes of a tree on disk: depth, and a shape of one byte.
pub(super) const TREE_BYTES_MIN: usize = 1 + 1 + 1;
/// Longest varint of a length.
const LENGTH_BYTES_MAX: usize = 10;

const LEAF: &str = "reelvault/leaf";

/// A tree, as the nodes that are left of it.
#[derive(Clone)]
pub(crate) struct Tree {
    depth: u8,
    /// By the first leaf below them; their ranges are disjoint.
    nodes: Vec<Node>,
}

#[derive(Clone)]
struct Node {
    /// 0 is the root, `depth` a leaf.
    level: u8,
    /// The path from the root, in the low `level` bits.
    prefix: u64,
    /// On the heap, so that it stays where it is when nodes are moved: a key that is moved leaves a copy behind, which
    /// nothing wipes. Shared, so that the copy of a tree that a new generation begins with costs no second set of keys.
    key: Arc<Key>,
}

impl Node {
    fn first_leaf(&self, depth: u8) -> u64 {
        self.prefix.checked_shl(u32::from(depth - self.level)).unwrap_or(0)
    }

    fn last_leaf(&self, depth: u8) -> u64 {
        self.first_leaf(depth) | low_ones(depth - self.level)
    }
}

fn low_ones(bits: u8) -> u64 {
    u64::MAX.checked_shr(64 - u32::from(bits)).unwrap_or(0)
}

/// Which way the path to `leaf` turns below `level`.
fn turn(depth: u8, level: u8, leaf: u64) -> u8 {
    ((leaf >> (depth - level - 1)) & 1) as u8
}

impl Tree {
    /// A whole tree of at most 64 levels.
    pub(crate) fn new(depth: u8, root: Key) -> Self {
        debug_assert!(depth <= 64, "leaves are numbered in 64 bits");
        Self { depth, nodes: vec![Node { level: 0, prefix: 0, key: Arc::new(root) }] }
    }

    /// A tree without a leaf: what stays of a site that was erased.
    pub(crate) fn bare(depth: u8) -> Self {
        Self { depth, nodes: Vec::new() }
    }

    /// Whether a leaf is there.
    pub(crate) fn has(&self, leaf: u64) -> bool {
        self.covering(leaf).is_some()
    }

    /// The key of a leaf; none if it was removed, or lies beyond the tree.
    pub(crate) fn leaf(&self, leaf: u64) -> Option<Key> {
        let node = self.nodes.get(self.covering(leaf)?)?;
        let mut walk = Walk::from(&node.key);
        for level in node.level..self.depth {
            walk.down(turn(self.depth, level, leaf));
        }
        Some(kdf(&walk.node(), LEAF, &[]))
    }

    fn covering(&self, leaf: u64) -> Option<usize> {
        let after = self.nodes.partition_point(|n| n.first_leaf(self.depth) <= leaf);
        let at = after.checked_sub(1)?;
        (self.nodes.get(at)?.last_leaf(self.depth) >= leaf).then_some(at)
    }

    /// Removes a leaf; false if it was not there.
    pub(crate) fn puncture(&mut self, leaf: u64) -> bool {
        let Some(at) = self.covering(leaf) else { return false };
        let Some(node) = self.nodes.get(at).cloned() else { return false };
        let mut left = Vec::with_capacity(usize::from(self.depth - node.level));
        split(self.depth, node, &[leaf], &mut left);
        self.nodes.splice(at..=at, left);
        true
    }

    /// Removes leaves, all at once; how many of them were there.
    pub(crate) fn puncture_all(&mut self, leaves: &[u64]) -> usize {
        if let [leaf] = leaves {
            return usize::from(self.puncture(*leaf));
        }
        let mut leaves = leaves.to_vec();
        leaves.sort_unstable();
        leaves.dedup();
        let mut rest = &leaves[..];
        let mut removed = 0;
        let mut left = Vec::with_capacity(self.nodes.len() + leaves.len());
        for node in std::mem::take(&mut self.nodes) {
            let (first, last) = (node.first_leaf(self.depth), node.last_leaf(self.depth));
            rest = &rest[rest.partition_point(|leaf| *leaf < first)..];
            let (here, beyond) = rest.split_at(rest.partition_point(|leaf| *leaf <= last));
            rest = beyond;
            removed += here.len();
            split(self.depth, node, here, &mut left);
        }
        self.nodes = left;
        removed
    }

    /// Removes all leaves from 0 to this one.
    pub(crate) fn puncture_through(&mut self, leaf: u64) {
        let mut left = Vec::with_capacity(self.nodes.len() + usize::from(self.depth));
        for node in std::mem::take(&mut self.nodes) {
            if node.first_leaf(self.depth) > leaf {
                left.push(node);
            } else if node.last_leaf(self.depth) > leaf {
                let mut beyond = Vec::new();
                let mut path = node;
                while path.level < self.depth {
                    let bit = turn(self.depth, path.level, leaf);
                    if bit == 0 {
                        beyond.push(path.child(1));
                    }
                    path = path.child(bit);
                }
                // The higher a sibling stands, the higher are its leaves.
                left.extend(beyond.into_iter().rev());
            }
        }
        self.nodes = left;
    }

    /// How many nodes are left.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        1 + LENGTH_BYTES_MAX + self.shape().len() + self.nodes.len() * Key::BYTES
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.depth);
        out.put_bytes(&self.shape());
        self.nodes.iter().for_each(|node| out.put(node.key.expose()));
    }

    /// Where nodes are left, as the format has it.
    fn shape(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        self.describe(0, &self.nodes, &mut bits);
        bits.bytes
    }

    /// Describes the subtree at `level` whose nodes that are left are these.
    fn describe(&self, level: u8, nodes: &[Node], bits: &mut Bits) {
        match nodes {
            [node] if node.level == level => bits.push(true),
            _ if level == self.depth => bits.push(false),
            _ => {
                bits.push(false);
                bits.push(!nodes.is_empty());
                if !nodes.is_empty() {
                    let is_left = |n: &Node| turn(self.depth, level, n.first_leaf(self.depth)) == 0;
                    let (left, right) = nodes.split_at(nodes.partition_point(is_left));
                    self.describe(level + 1, left, bits);
                    self.describe(level + 1, right, bits);
                }
            }
        }
    }

    /// Reads a tree that must have this depth.
    pub(crate) fn decode(depth: u8, take: &mut Take<'_>) -> Result<Self, Malformed> {
        if take.u8("tree depth")? != depth {
            return Err(Malformed("tree depth"));
        }
        let len = take.count(1, "tree shape")?;
        let mut shape = Shape { bits: take.bytes(len, "tree shape")?, at: 0, places: Vec::new() };
        shape.read(depth, 0, 0)?;
        shape.end()?;
        let mut keys = Take::new(take.bytes(shape.places.len() * Key::BYTES, "tree node keys")?);
        let mut nodes = Vec::with_capacity(shape.places.len());
        for (level, prefix) in shape.places {
            let key = Arc::new(Key::take(&mut keys.array("tree node keys")?));
            nodes.push(Node { level, prefix, key });
        }
        Ok(Self { depth, nodes })
    }
}

impl Node {
    fn child(&self, bit: u8) -> Self {
        let mut walk = Walk::from(&self.key);
        walk.down(bit);
        let prefix = self.prefix << 1 | u64::from(bit);
        Self { level: self.level + 1, prefix, key: Arc::new(walk.node()) }
    }
}

/// Appends what is left of a node when these leaves below it, in order, are removed.
fn split(depth: u8, node: Node, leaves: &[u64], left: &mut Vec<Node>) {
    if leaves.is_empty() {
        left.push(node);
    } else if node.level < depth {
        let is_left = |leaf: &u64| turn(depth, node.level, *leaf) == 0;
        let (low, high) = leaves.split_at(leaves.partition_point(is_left));
        split(depth, node.child(0), low, left);
        split(depth, node.child(1), high, left);
    }
}

/// Bits on their way to disk, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.count % 8);
        }
        self.count += 1;
    }
}

/// A shape as it is read.
struct Shape<'a> {
    bits: &'a [u8],
    at: usize,
    /// Level and prefix of the nodes that are left.
    places: Vec<(u8, u64)>,
}

impl Shape<'_> {
    fn bit(&mut self) -> Result<bool, Malformed> {
        let byte = self.bits.get(self.at / 8).ok_or(Malformed("tree shape"))?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Ok(bit)
    }

    /// Reads a subtree; whether anything is left of it. As deep as the tree, and as long as its bits.
    fn read(&mut self, depth: u8, level: u8, prefix: u64) -> Result<bool, Malformed> {
        if self.bit()? {
            self.places.push((level, prefix));
            return Ok(true);
        }
        if level == depth || !self.bit()? {
            return Ok(false);
        }
        let low = self.read(depth, level + 1, prefix << 1)?;
        let high = self.read(depth, level + 1, prefix << 1 | 1)?;
        // Without this, one state would have many forms.
        if low || high { Ok(true) } else { Err(Malformed("tree shape")) }
    }

    /// Nothing but the filling may follow.
    fn end(&self) -> Result<(), Malformed> {
        let byte = self.bits.get(self.at / 8).copied().unwrap_or(0);
        let rest = byte & 0xff_u8.checked_shr((self.at % 8) as u32).unwrap_or(0);
        let whole = self.at.div_ceil(8) == self.bits.len();
        if whole && (self.at.is_multiple_of(8) || rest == 0) {
            Ok(())
        } else {
            Err(Malformed("tree shape"))
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
