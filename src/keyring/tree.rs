//! The puncturable tree: a key for each of 2^depth leaves, of which any can be removed for good.
//!
//! # Why a removed leaf is gone
//!
//! The tree is that of Goldreich, Goldwasser and Micali (1986): a node gives its two children by a
//! pseudorandom function, here HMAC-SHA-256 in the counter form of SP 800-108, and whoever holds a node
//! derives every leaf below it and nothing else. The state is a set of nodes.
//!
//! 1. *The nodes of a state cover disjoint ranges of leaves.* It is so at first, with the root alone, and
//!    decoding refuses any other state. So at most one node leads to a given leaf.
//! 2. *Puncturing replaces that node by the siblings of the path from it to the leaf.* Together they cover its
//!    range but for the one leaf; none is an ancestor of the leaf. So 1 stays true, and no kept node leads there.
//! 3. *The kept nodes tell nothing of it.* Walk down the path: as the node above is unknown, its two children are
//!    two independent random values to anyone who cannot tell HMAC-SHA-256 from a random function. One of
//!    them is kept, the other is the next node of the path and as unknown as the first. After at most `depth` steps
//!    that holds for the leaf. Order does not matter: a later puncture only takes away more.
//! 4. *A node is never used as a key.* The key of a leaf is one more derivation, under another label, so a leaf that
//!    stands in the state as a sibling at the lowest level is no exception.
//!
//! This is the construction of Backendal, Günther and Paterson, "Puncturable Key Wrapping and Its Applications"
//! (2022). What it does not reach is an older copy of the state: that none can be opened is the business of
//! the keyring and its provider.

use super::walk::Walk;
use crate::crypto::{Key, kdf};
use crate::format::codec::{Malformed, Put, Take};

/// Levels of the time tree: a leaf for each expiry day until the year 47,900.
pub(crate) const TIME_DEPTH: u8 = 24;
/// Levels of a site's tree: the first 64 bits of a session tag.
pub(crate) const SITE_DEPTH: u8 = 64;
/// A node on disk: level, prefix, key.
const NODE_BYTES: usize = 1 + 8 + Key::BYTES;
/// Longest varint of a count.
const COUNT_BYTES_MAX: usize = 10;

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
    /// Boxed, so that it stays where it is when nodes are moved: a key that is moved leaves a copy behind, which
    /// nothing wipes.
    key: Box<Key>,
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
        Self { depth, nodes: vec![Node { level: 0, prefix: 0, key: Box::new(root) }] }
    }

    /// A tree without a leaf: what stays of a site that was erased.
    pub(crate) fn bare(depth: u8) -> Self {
        Self { depth, nodes: Vec::new() }
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
    #[cfg(test)]
    pub(crate) fn puncture(&mut self, leaf: u64) -> bool {
        let Some(at) = self.covering(leaf) else { return false };
        let Some(top) = self.nodes.get(at) else { return false };
        let mut siblings = Vec::with_capacity(usize::from(self.depth - top.level));
        let mut path = Walk::from(&top.key);
        let mut prefix = top.prefix;
        for level in top.level..self.depth {
            let bit = turn(self.depth, level, leaf);
            let beside = prefix << 1 | u64::from(bit ^ 1);
            let mut aside = Walk::from(&path.node());
            aside.down(bit ^ 1);
            let key = Box::new(aside.node());
            siblings.push(Node { level: level + 1, prefix: beside, key });
            path.down(bit);
            prefix = prefix << 1 | u64::from(bit);
        }
        siblings.sort_unstable_by_key(|n| n.first_leaf(self.depth));
        self.nodes.splice(at..=at, siblings);
        true
    }

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        1 + COUNT_BYTES_MAX + self.nodes.len() * NODE_BYTES
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.depth);
        out.put_varint(self.nodes.len() as u64);
        for node in &self.nodes {
            out.put_u8(node.level);
            out.put_u64(node.prefix);
            out.put(node.key.expose());
        }
    }

    /// Reads a tree that must have this depth.
    pub(crate) fn decode(depth: u8, take: &mut Take<'_>) -> Result<Self, Malformed> {
        if take.u8("tree depth")? != depth {
            return Err(Malformed("tree depth"));
        }
        let count = take.count(NODE_BYTES, "tree node count")?;
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for _ in 0..count {
            let level = take.u8("tree node level")?;
            let prefix = take.u64("tree node prefix")?;
            let key = Box::new(Key::take(&mut take.array("tree node key")?));
            if level > depth {
                return Err(Malformed("tree node level"));
            }
            if prefix > low_ones(level) {
                return Err(Malformed("tree node prefix"));
            }
            let node = Node { level, prefix, key };
            if nodes.last().is_some_and(|n| n.last_leaf(depth) >= node.first_leaf(depth)) {
                return Err(Malformed("tree node order"));
            }
            nodes.push(node);
        }
        Ok(Self { depth, nodes })
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
