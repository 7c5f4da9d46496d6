//! The tree against vectors, against a naive tree, and against states it could not have made.

use ::hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::ids::StoreId;
use crate::keyring::shape::Bits;

const ROOT: [u8; 32] = {
    let mut root = [0; 32];
    let mut i = 0;
    while i < 32 {
        root[i] = i as u8;
        i += 1;
    }
    root
};

fn tree(depth: u8) -> Tree {
    Tree::new(depth, Key::take(&mut ROOT.clone()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn leaf(tree: &Tree, n: u64) -> Option<[u8; 32]> {
    tree.leaf(n).map(|key| *key.expose())
}

/// The same tree written down once more, straight from the format document.
fn naive(depth: u32, n: u64) -> [u8; 32] {
    let step = |key: &[u8], label: &[u8], context: &[u8]| -> [u8; 32] {
        let message = [&[0, 0, 0, 1], label, &[0], context, &[0, 0, 1, 0]].concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&message);
        mac.finalize().into_bytes().into()
    };
    let mut key = ROOT;
    for bit in (0..depth).rev() {
        key = step(&key, b"reelvault/tree", &[(n >> bit & 1) as u8]);
    }
    step(&key, b"reelvault/leaf", b"")
}

fn encoded(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sealer = Sealer::new(&crate::env::RealRandom, StoreId([0; 16]));
    tree.encode(Of::Sites, &mut out, &mut sealer).unwrap();
    assert!(sealer.made.is_empty(), "it is in one piece");
    assert!(out.len() <= tree.encoded_bytes_max());
    out
}

/// Removes leaves from a tree that stays in one piece.
fn puncture(tree: &mut Tree, leaves: &[u64]) -> usize {
    tree.puncture(leaves, &mut Editing::new(usize::MAX))
}

fn decoded(depth: u8, bytes: &[u8]) -> Result<Tree, Malformed> {
    let mut take = Take::new(bytes);
    let tree = Tree::decode(depth, &mut take)?;
    take.end("tree")?;
    Ok(tree)
}

/// Removes what a vector names: leaves, and ranges from 0.
fn remove(tree: &mut Tree, what: &str, at_once: bool) {
    let mut leaves = Vec::new();
    for item in what.split(',').filter(|item| *item != "-") {
        match item.strip_prefix("0..") {
            Some(last) => tree.puncture_through(last.parse().unwrap()),
            None => leaves.push(item.parse().unwrap()),
        }
    }
    if at_once {
        assert_eq!(puncture(tree, &leaves), leaves.len());
    } else {
        assert!(leaves.iter().rev().all(|n| puncture(tree, &[*n]) == 1));
    }
}

#[test]
fn leaves_and_states_are_those_of_the_vectors() {
    let mut count = 0;
    for line in include_str!("tree_vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(' ').collect();
        let &[kind, depth, what, expected] = &fields[..] else { panic!("{line}") };
        let depth: u8 = depth.parse().unwrap();
        if kind == "leaf" {
            let n = what.parse().unwrap();
            assert_eq!(hex(&leaf(&tree(depth), n).unwrap()), expected, "{line:.40}");
            assert_eq!(hex(&naive(depth.into(), n)), expected, "{line:.40}");
        } else {
            for at_once in [true, false] {
                let mut tree = tree(depth);
                remove(&mut tree, what, at_once);
                let bytes = encoded(&tree);
                let found =
                    if kind == "state" { hex(&bytes) } else { hex(&Sha256::digest(&bytes)) };
                assert_eq!(found, expected, "{line:.40}");
                assert_eq!(encoded(&decoded(depth, &bytes).unwrap()), bytes);
            }
        }
        count += 1;
    }
    assert_eq!(count, 25);
}

#[test]
fn there_is_no_leaf_beyond_the_tree() {
    assert!(tree(24).leaf(1 << 24).is_none());
    assert!(tree(0).leaf(1).is_none());
    assert!(Tree::bare(64).leaf(0).is_none());
}

#[test]
fn a_removed_leaf_is_gone_and_its_neighbours_stay() {
    let n = 0x0123_4567_89ab_cdef;
    let mut tree = tree(64);
    assert_eq!(puncture(&mut tree, &[n]), 1);
    assert!(tree.leaf(n).is_none());
    assert_eq!(puncture(&mut tree, &[n]), 0, "it cannot be removed twice");
    assert_eq!(tree.nodes.len(), 64);
    for other in [n ^ 1, n + 1, n - 1, n ^ 1 << 63, 0, u64::MAX] {
        assert_eq!(leaf(&tree, other).unwrap(), naive(64, other));
    }
}

#[test]
fn a_prefix_of_removed_days_stays_small() {
    let mut tree = tree(24);
    for day in 0..400 {
        assert_eq!(puncture(&mut tree, &[day]), 1);
        assert!(tree.nodes.len() <= 24);
    }
    assert!(tree.leaf(399).is_none());
    assert_eq!(leaf(&tree, 400).unwrap(), naive(24, 400));
}

#[test]
fn a_prefix_goes_as_its_leaves_would_one_by_one() {
    for last in 0..64 {
        let (mut one_by_one, mut at_once) = (tree(6), tree(6));
        (0..=last).for_each(|day| assert_eq!(puncture(&mut one_by_one, &[day]), 1));
        at_once.puncture_through(last);
        assert_eq!(encoded(&at_once), encoded(&one_by_one), "up to {last}");
        assert!(at_once.node_count() <= 6);
        at_once.puncture_through(last / 2);
        assert_eq!(encoded(&at_once), encoded(&one_by_one), "what is gone cannot go again");
    }
    let mut tree = tree(64);
    tree.puncture_through(u64::MAX);
    assert_eq!(tree.node_count(), 0);
}

/// What may be done to a tree.
#[derive(Debug, Clone)]
enum Step {
    One(u64),
    Many(Vec<u64>),
    Through(u64),
    Reload,
}

fn step(leaves: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..leaves).prop_map(Step::One),
        3 => prop::collection::vec(0..leaves, 0..12).prop_map(Step::Many),
        1 => (0..leaves).prop_map(|n| Step::Through(n / 4)),
        1 => Just(Step::Reload),
    ]
}

proptest! {
    /// The oracle is a table with a key for each leaf, from which keys are deleted.
    #[test]
    fn it_answers_as_a_table_of_keys_does(steps in prop::collection::vec(step(64), 0..40)) {
        let mut tree = tree(6);
        let mut table: Vec<_> = (0..64).map(|n| Some(naive(6, n))).collect();
        for step in steps {
            match step {
                Step::One(n) => {
                    let there = usize::from(table[n as usize].take().is_some());
                    prop_assert_eq!(puncture(&mut tree, &[n]), there);
                }
                Step::Many(many) => {
                    let gone = many.iter().filter(|n| table[**n as usize].take().is_some());
                    prop_assert_eq!(gone.count(), puncture(&mut tree, &many));
                }
                Step::Through(n) => {
                    tree.puncture_through(n);
                    table[..=n as usize].fill(None);
                }
                Step::Reload => tree = decoded(6, &encoded(&tree)).unwrap(),
            }
            for (n, key) in table.iter().enumerate() {
                prop_assert_eq!(&leaf(&tree, n as u64), key);
                // No node that is left leads to a removed leaf: neither that leaf nor one above it is there.
                let at = (n as u64) << 58;
                let leads = |node: &&Node| node.place.covers(at);
                prop_assert_eq!(tree.nodes.iter().filter(leads).count(), usize::from(key.is_some()));
            }
        }
    }

    /// The same at full depth, among leaves that are far apart or side by side.
    #[test]
    fn it_answers_as_a_table_of_keys_does_at_full_depth(
        leaves in prop::collection::vec(prop_oneof![any::<u64>(), 0..8u64, u64::MAX - 8..=u64::MAX], 1..12),
        gone in prop::collection::vec(any::<bool>(), 12),
        at_once: bool,
    ) {
        let whole = tree(64);
        let mut tree = tree(64);
        let out: Vec<u64> =
            leaves.iter().zip(&gone).filter(|(_, gone)| **gone).map(|(n, _)| *n).collect();
        if at_once {
            puncture(&mut tree, &out);
        } else {
            out.iter().for_each(|n| { puncture(&mut tree, &[*n]); });
        }
        let tree = decoded(64, &encoded(&tree)).unwrap();
        for n in leaves {
            let kept = (!out.contains(&n)).then(|| leaf(&whole, n).unwrap());
            prop_assert_eq!(leaf(&tree, n), kept);
        }
    }

    #[test]
    fn any_bytes_are_a_tree_or_refused(mut bytes: Vec<u8>) {
        if let Some(depth) = bytes.first_mut() {
            *depth = 64;
        }
        let _ = decoded(64, &bytes).map(|tree| tree.leaf(7));
    }
}

/// The bytes of a tree of depth 2 with this shape, and as many keys as it has room for.
fn forged(bits: &str, keys: usize) -> Vec<u8> {
    let mut shape = Bits::default();
    bits.chars().for_each(|bit| shape.push(bit == '1'));
    let mut out = vec![2];
    out.put_bytes(&shape.bytes);
    (0..keys).for_each(|_| out.put(&[7; 32]));
    out
}

#[test]
fn a_state_that_no_tree_has_is_refused() {
    let what = |bits, keys| decoded(2, &forged(bits, keys)).map(|_| ()).map_err(|m| m.0);
    assert_eq!(what("00", 0), Ok(()));
    assert_eq!(what("1", 1), Ok(()));
    assert_eq!(what("0101011", 2), Ok(()), "the leaves 1 and 3 alone");
    assert_eq!(what("", 0), Err("tree shape"));
    assert_eq!(what("010000", 0), Err("tree shape"), "neither child has anything");
    assert_eq!(what("0101001", 1), Err("tree shape"), "neither leaf is there");
    assert_eq!(what("01", 0), Err("tree shape"), "it ends too early");
    assert_eq!(what("11", 1), Err("tree shape"), "something follows");
    assert_eq!(what("100000000", 1), Err("tree shape"), "a byte follows");
    assert_eq!(what("1", 0), Err("tree node keys"));
    assert_eq!(what("1", 2), Err("tree"));
    assert!(decoded(3, &forged("1", 1)).is_err(), "of another depth");
    let mut many = vec![2];
    many.put_varint(u64::MAX);
    assert!(decoded(2, &many).is_err());
    let whole = forged("0101011", 2);
    for len in 0..whole.len() {
        assert!(decoded(2, &whole[..len]).is_err());
    }
}

/// A place for each of so many sessions, as good as hashes.
fn places(count: u64) -> Vec<u64> {
    (1..=count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ n << 40).collect()
}

/// Of 100,000 sessions of a day; figures of the design: at most 2 KiB a session and 20 µs a derivation.
#[test]
#[ignore = "a measurement: run it in release with --nocapture"]
fn the_cost_of_erasures() {
    let clock = crate::env::Env::real().clock;
    let timed = |count: usize, work: &mut dyn FnMut()| {
        let from = clock.monotonic_ns();
        work();
        (clock.monotonic_ns() - from) as f64 / 1e3 / count as f64
    };
    let sessions = places(100_000);
    for count in [1, 10, 1_000, 20_000] {
        let erased = &sessions[..count];
        let (mut one_by_one, mut at_once, mut in_parts) = (tree(64), tree(64), tree(64));
        let mut edit = Editing::new(crate::keyring::PART_BYTES);
        let bulk = timed(count, &mut || assert_eq!(puncture(&mut at_once, erased), count));
        let parts = timed(count, &mut || assert_eq!(in_parts.puncture(erased, &mut edit), count));
        let single = timed(count, &mut || {
            assert!(erased.iter().all(|n| one_by_one.puncture(&[*n], &mut edit) == 1));
        });
        for other in [&one_by_one, &in_parts] {
            let node = |node: &Node| (node.place, *node.key.expose());
            assert!(other.nodes.iter().map(node).eq(at_once.nodes.iter().map(node)));
        }
        let mut bytes = Vec::new();
        let encode = timed(1, &mut || bytes = encoded(&at_once));
        let kept = &sessions[50_000..60_000];
        let derive = timed(kept.len(), &mut || {
            kept.iter().for_each(|n| assert!(std::hint::black_box(at_once.leaf(*n)).is_some()));
        });
        println!(
            "{count:6} of {}: {:.0} bytes an erased session, {single:.1} µs a puncture one by one, \
             {bulk:.1} µs at once, {parts:.1} into parts, {derive:.1} µs a leaf, {:.1} ms to encode",
            sessions.len(),
            bytes.len() as f64 / count as f64,
            encode / 1e3,
        );
        assert!(bytes.len() <= (count + usize::from(count == 1)) * 2_048);
    }
}
