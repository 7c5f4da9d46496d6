//! What stands behind seals, written by the format document alone: seeds for the decoders.

use reelvault::fuzzing::DECODERS;

/// Bytes being written.
#[derive(Default, Clone)]
struct Out(Vec<u8>);

impl Out {
    fn id(self, n: u8) -> Self {
        self.raw(&[n; 16])
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn n16(self, n: u16) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn n32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn n64(self, n: u64) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn var(mut self, mut n: u64) -> Self {
        while n > 0x7f {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
        self
    }
    fn vars(self, all: &[u64]) -> Self {
        all.iter().fold(self, |out, n| out.var(*n))
    }
    fn text(self, bytes: &[u8]) -> Self {
        self.var(bytes.len() as u64).raw(bytes)
    }
    fn crc(self) -> Self {
        let crc = crc32fast::hash(&self.0);
        self.n32(crc)
    }
}

fn out() -> Out {
    Out::default()
}

const MS: u64 = crate::NOON;

fn sealed_identity(out: Out) -> Out {
    out.raw(&[1]).raw(&[5; 12]).text(&[6; 30])
}

fn stored(out: Out, n: u8) -> Out {
    let entry = out.id(n).n16(0).n32(20_833).n32(30).n64(4_096).raw(&[n; 32]);
    entry.n32(2).n64(MS).n64(MS + 9).n64(700)
}

fn pieces(out: Out) -> Out {
    out.var(1).id(5).var(77).raw(&[6; 32])
}

fn session(tag: u8) -> Out {
    let one = out().id(tag).id(7).raw(&[8; 32]).raw(&[0, 1]);
    let one = one.var(MS).vars(&[0, 9, 12]).vars(&[2, 0, 1, 2, 1]).raw(&[1]);
    let one = sealed_identity(one).vars(&[32, 1]);
    one.vars(&[400, 700, 0, 2, 0, 9]).vars(&[1, 0, 1, 0])
}

/// A whole tree: its depth, and the root.
fn tree(depth: u8) -> Out {
    out().raw(&[depth]).text(&[0x80]).raw(&[depth; 32])
}

/// A tree of which the first leaf is gone: going down on the left, the right side is left at each level.
fn punctured(depth: u8) -> Out {
    let (mut bits, mut rest) = (String::new(), String::new());
    for _ in 0..depth {
        bits += "01";
        rest += "1";
    }
    let bits = bits + "0" + &rest;
    let byte = |bits: &[u8]| bits.iter().enumerate().map(|(i, b)| (b & 1) << (7 - i)).sum();
    let shape: Vec<u8> = bits.as_bytes().chunks(8).map(byte).collect();
    let keys = vec![9; 32 * usize::from(depth)];
    out().raw(&[depth]).text(&shape).raw(&keys)
}

fn site(n: u8, tree: &Out) -> Out {
    out().id(n).text(b"shop.example").n64(MS).n32(30).raw(&[n; 32]).raw(&tree.0)
}

/// A keyring: a body of such sites, and the texts of its parts.
fn keyring(sites: &Out, parts: &[Out]) -> Vec<u8> {
    let head = out().id(9).n64(4).raw(&[1]).raw(&[3; 32]).raw(&punctured(24).0).n32(20_000);
    let log = head.n64(1).raw(&[4; 32]).text(b"the last record");
    let erased = log.var(1).id(2);
    let hold = erased.var(1).id(1).id(3).id(4).id(5).n64(MS).n32(30).n32(2).n64(MS);
    let body = hold.raw(&[6; 32]).text(b"a dispute").raw(&sites.0);
    let whole = out().n16(body.0.len() as u16).raw(&body.0);
    let part = |out: Out, part: &Out| out.n16(part.0.len() as u16).raw(&part.0);
    parts.iter().fold(whole, part).0
}

fn part_reference(n: u8) -> Out {
    out().id(n).raw(&[n; 32]).n32(500)
}

fn keyrings() -> Vec<Vec<u8>> {
    let small = [tree(64), punctured(64)].map(|tree| out().raw(&[0]).raw(&tree.0));
    let list = |one: Out| out().raw(&[0]).var(1).raw(&one.0);
    // Sites in two parts, one for each half of all places, and the tree of one of them in a part as well.
    let of_tree = out().raw(&[1]).text(&[0x80]).raw(&part_reference(3).0);
    let halves = out().raw(&[1]).text(&[0b0111_0000]);
    let halves = halves.raw(&part_reference(1).0).raw(&part_reference(2).0);
    let low = out().var(1).raw(&site(1, &of_tree).0);
    let high = out().var(1).raw(&site(0x81, &small[0]).0);
    let high = Out(replace(&high.0, b"shop.example", b"help.example"));
    let nodes = Out(punctured(64).0[1..].to_vec());
    vec![
        keyring(&out().raw(&[0]).var(0), &[]),
        keyring(&list(site(1, &small[0])), &[]),
        keyring(&list(site(2, &small[1])), &[]),
        keyring(&halves, &[low, nodes, high]),
    ]
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).expect("there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn certificates() -> Vec<Vec<u8>> {
    let head = || out().raw(&[1]).id(9).n64(7).raw(&[8; 32]).n64(MS).n64(3).n64(4);
    let receipts = |out: Out| out.var(1).n32(5).raw(&[1]).text(b"overwritten").0;
    let deeds = [
        out().raw(&[1]).id(1).var(2).id(2).id(3),
        out().raw(&[2]).id(1).id(4).var(1).id(2),
        out().raw(&[3]).id(1),
        out().raw(&[4]).n32(20_000),
        out().raw(&[5]).id(1).id(2),
        out().raw(&[7]),
    ];
    deeds.into_iter().map(|deed| receipts(head().raw(&deed.0))).collect()
}

fn of(name: &str) -> Vec<Vec<u8>> {
    let snapshots = |out: Out| out.vars(&[2, 0, 0, 40, 14]);
    let one = match name {
        "manifest" => {
            let head = out().id(9).n64(3).n16(2).n64(8).n64(2).n64(MS);
            stored(head.var(1).id(1).n16(1).n64(7).n64(u64::MAX).var(1), 2)
        }
        "journal head" => out().id(9).n16(1).n64(7).n64(MS).n64(3),
        "locator" => out().id(3).n32(20_864),
        "envelope" => {
            let head = out().id(4).id(5).raw(&[6; 32]).raw(&[0, 1, 1]).var(30);
            let times = head.vars(&[MS, 3, MS + 5, MS + 90]).vars(&[7, 600]);
            sealed_identity(snapshots(times))
        }
        "identity" => {
            let ids = out().text(b"s-1").text(b"visitor").var(2);
            ids.text(b"page").text(b"/").text(b"browser").text("\u{fc}".as_bytes())
        }
        "sealed identity" => sealed_identity(out()),
        "chunk table" => {
            let first = snapshots(out().vars(&[3, 2 * MS, 90, 600, 7]));
            let table = first.vars(&[2, 19, 1, 50, 1, 0]);
            out().n32(table.0.len() as u32).raw(&table.0).raw(b"a frame")
        }
        "session page" => out().var(2).raw(&session(1).0).raw(&session(2).0),
        "tag page" => out().var(2).raw(&[1; 8]).n32(0).raw(&[2; 8]).n32(1),
        "site root" => {
            let pages = out().vars(&[2, 1, 500, 90, MS, 10, 1, 20]);
            let tags = pages.vars(&[1, 590, 60]).raw(&[1; 8]);
            tags.vars(&[1, 650, 60]).raw(&[2; 8])
        }
        "directory" => {
            let head = out().n16(1).n32(20_833).n32(30).var(1);
            head.id(1).vars(&[500, 710, 90, 2, MS, 18])
        }
        // Before 52 bytes of a file.
        "footer" => {
            let head = out().n64(20).n32(32).n16(1).n16(0).id(4).crc().n32(0);
            head.raw(b"RVLTSEGE").raw(&[0; 4])
        }
        "snapshot" => {
            let head = out().id(9).n64(4).n64(MS).raw(&[2]).n16(2).n64(3).n64(8).n64(2).n64(MS);
            let lists = stored(head.id(8).var(1).id(1).var(1), 2).var(0);
            pieces(pieces(lists.var(1).id(7).n16(1).n64(3)))
        }
        "list" => stored(stored(out().var(2), 1).var(0), 2).var(200),
        "mark" => out().n64(MS).var(2).text(b"segment/1").text(b"piece/2"),
        "root of a repository" => {
            let header = out().raw(b"RVLTREPO").n16(1).raw(&[1, 0]).id(4).crc();
            header.n32(0).crc()
        }
        "certificate" => return certificates(),
        "keyring" => return keyrings(),
        // Of 12 bytes: a header with a content size of a byte, a last block of one byte twelve times.
        "zstd frame" => out().n32(12).raw(&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 12, 0x63, 0, 0, b'x']),
        other => panic!("no encoding of a {other}"),
    };
    vec![one.0]
}

/// An input of the target `decoders` for each decoder, and a name.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (which, (name, _)) in DECODERS.iter().enumerate() {
        for (n, bytes) in of(name).into_iter().enumerate() {
            let name = format!("{}-{n}", name.replace(' ', "-"));
            all.push((name, [&[which as u8], &bytes[..]].concat()));
        }
    }
    all
}
