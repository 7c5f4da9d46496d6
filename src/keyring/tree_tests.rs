//! The tree against vectors, against a naive tree, and against states it could not have made.

use ::hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

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
    tree.encode(&mut out);
    assert!(out.len() <= tree.encoded_bytes_max());
    out
}

fn decoded(depth: u8, bytes: &[u8]) -> Result<Tree, Malformed> {
    let mut take = Take::new(bytes);
    let tree = Tree::decode(depth, &mut take)?;
    take.end("tree")?;
    Ok(tree)
}

/// Computed with Python's hmac and hashlib from the format document; the root is the bytes 0 to 31.
#[test]
fn leaves_are_those_of_the_vectors() {
    let vectors = [
        (0, 0, "081ce9cd74597cb40a46938ed8adbff99c18d435bd8a22138b563c53aeb6aacb"),
        (1, 0, "ac16a86f323a8e9fbb37d8fb15e6b9b0edcb63b0279448e6d6e2b544b64c26bd"),
        (1, 1, "dae77f907eac2fccdd4d4eacf3e5bd4d0ad37175084588eeac9a82d256575307"),
        (24, 0, "79eca160b20b9dedc17795a71296a620ad273249b9582cab0a09858e3b297ca2"),
        (24, 20_743, "533099cc7591dda3e2e917739c23f0745c6136366e081f84c6244304b3dfdd9b"),
        (24, 0xff_ffff, "945ba7a48534880f0063a3e51642788d305cc065f01ac723e5d66476a04212c0"),
        (64, 0, "d9a4a3ee1d046d3e67f048ed6aaf5f18543a6fd0ecdebc66af2aaac9257ac769"),
        (
            64,
            0x0123_4567_89ab_cdef,
            "4b081f56e49ba528ea263c7ce5deccd660f63c6adce940478e95cf365f6c05f9",
        ),
        (64, u64::MAX, "2847168fba91ff82a21691a9befc74c73a80822af3e4d5071a8b49040a127977"),
    ];
    for (depth, n, expected) in vectors {
        assert_eq!(hex(&leaf(&tree(depth), n).unwrap()), expected, "leaf {n} of depth {depth}");
        assert_eq!(hex(&naive(depth.into(), n)), expected, "leaf {n} of depth {depth}");
    }
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
    assert!(tree.puncture(n));
    assert!(tree.leaf(n).is_none());
    assert!(!tree.puncture(n), "it cannot be removed twice");
    assert_eq!(tree.nodes.len(), 64);
    for other in [n ^ 1, n + 1, n - 1, n ^ 1 << 63, 0, u64::MAX] {
        assert_eq!(leaf(&tree, other).unwrap(), naive(64, other));
    }
}

#[test]
fn a_prefix_of_removed_days_stays_small() {
    let mut tree = tree(24);
    for day in 0..400 {
        assert!(tree.puncture(day));
        assert!(tree.nodes.len() <= 24);
    }
    assert!(tree.leaf(399).is_none());
    assert_eq!(leaf(&tree, 400).unwrap(), naive(24, 400));
}

proptest! {
    #[test]
    fn only_what_was_removed_is_gone(removed in prop::collection::vec(0u64..64, 0..64)) {
        let mut tree = tree(6);
        for n in &removed {
            tree.puncture(*n);
            // No kept node leads to a removed leaf: neither that leaf nor one above it is there.
            prop_assert!(tree.nodes.iter().all(|node| node.prefix != n >> (6 - node.level)));
        }
        let tree = decoded(6, &encoded(&tree)).unwrap();
        for n in 0..64 {
            let expected = (!removed.contains(&n)).then(|| naive(6, n));
            prop_assert_eq!(leaf(&tree, n), expected);
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

/// The bytes of a tree of depth 4 with these levels and prefixes.
fn forged(nodes: &[(u8, u64)]) -> Vec<u8> {
    let mut out = vec![4];
    out.put_varint(nodes.len() as u64);
    for (level, prefix) in nodes {
        out.put_u8(*level);
        out.put_u64(*prefix);
        out.put(&[7; 32]);
    }
    out
}

#[test]
fn a_state_that_no_tree_has_is_refused() {
    let what = |nodes: &[(u8, u64)]| decoded(4, &forged(nodes)).map(|_| ()).map_err(|m| m.0);
    assert_eq!(what(&[]), Ok(()));
    assert_eq!(what(&[(0, 0)]), Ok(()));
    assert_eq!(what(&[(1, 0), (3, 0b101), (4, 0b1111)]), Ok(()));
    assert_eq!(what(&[(5, 0)]), Err("tree node level"));
    assert_eq!(what(&[(255, 0)]), Err("tree node level"));
    assert_eq!(what(&[(0, 1)]), Err("tree node prefix"));
    assert_eq!(what(&[(2, 4)]), Err("tree node prefix"));
    assert_eq!(what(&[(1, 1), (1, 0)]), Err("tree node order"));
    assert_eq!(what(&[(2, 1), (2, 1)]), Err("tree node order"));
    assert_eq!(what(&[(1, 0), (4, 0b0111)]), Err("tree node order"), "it lies below the first");
    assert_eq!(what(&[(4, 0b0000), (1, 0)]), Err("tree node order"), "the first lies below it");
    assert_eq!(what(&[(0, 0), (1, 1)]), Err("tree node order"));
    assert!(decoded(5, &forged(&[])).is_err(), "of another depth");
    let mut many = vec![4];
    many.put_varint(u64::MAX);
    assert!(decoded(4, &many).is_err());
    let whole = forged(&[(1, 0), (3, 0b101)]);
    for len in 0..whole.len() {
        assert!(decoded(4, &whole[..len]).is_err());
    }
}

#[test]
#[ignore = "a measurement: run it in release with --nocapture"]
fn the_cost_of_a_leaf() {
    let mut tree = tree(64);
    let clock = crate::env::Env::real().clock;
    let micros = |from: u64, n: u64| (clock.monotonic_ns() - from) as f64 / 1e3 / n as f64;
    let from = clock.monotonic_ns();
    for n in 0..10_000u64 {
        std::hint::black_box(tree.leaf(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    println!("leaf {:.1} µs", micros(from, 10_000));
    let from = clock.monotonic_ns();
    for n in 0..1_000u64 {
        tree.puncture(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    println!("puncture {:.1} µs, {} bytes", micros(from, 1_000), encoded(&tree).len());
}
