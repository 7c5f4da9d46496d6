//! Edits of files, and the checksums that stand outside their seals.

/// Applies edits to a file: what the fuzzer gives is a list of them, so that small inputs reach deep into valid files.
///
/// An edit is a kind, an offset (two bytes) and a value: set a byte, add to a 32-bit number, cut there, insert, double a
/// range, or replace everything by the rest of the input.
pub fn edit(bytes: &mut Vec<u8>, input: &[u8]) {
    let mut rest = input;
    while let Some((&[kind, low, high, value], next)) = rest.split_first_chunk::<4>() {
        rest = next;
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
        match kind % 8 {
            0..=2 => bytes[at] = value,
            3 => bytes[at] ^= 1 << (value % 8),
            4 if at + 4 <= bytes.len() => {
                let number =
                    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                let add = [1, u32::MAX, 1 << 31, 0x7fff_ffff, 16, 256, 1 << 20, 1 << 24]
                    [usize::from(value % 8)];
                bytes[at..at + 4].copy_from_slice(&number.wrapping_add(add).to_le_bytes());
            }
            5 if value == 0 => bytes.truncate(at),
            5 => drop(bytes.splice(at..at, std::iter::repeat_n(value, usize::from(value)))),
            6 => {
                let range = bytes[at..(at + usize::from(value)).min(bytes.len())].to_vec();
                bytes.splice(at..at, range);
            }
            7 if value == 0xff => {
                bytes.clear();
                bytes.extend_from_slice(rest);
                return;
            }
            _ => {}
        }
    }
}

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(to) = bytes.get_mut(at..at + 4) {
        to.copy_from_slice(&crc.to_le_bytes());
    }
}

pub fn number(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at + 4)
        .map_or(usize::MAX, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
}

/// Repairs the checksum of a file's header.
pub fn repair_file(bytes: &mut [u8]) {
    if let Some(header) = bytes.get(..28) {
        let crc = crc32fast::hash(header);
        put(bytes, 28, crc);
    }
}

/// Repairs the checksums of the unit at `at`; returns where it ends, by its own word.
pub fn repair_unit(bytes: &mut [u8], at: usize) -> Option<usize> {
    let body = at + 32;
    let end = body.checked_add(number(bytes, at + 8))?;
    if let Some(sealed) = bytes.get(body..end) {
        let crc = crc32fast::hash(sealed);
        put(bytes, at + 12, crc);
    }
    let crc = crc32fast::hash(bytes.get(at..at + 28)?);
    put(bytes, at + 28, crc);
    Some(end)
}

/// Repairs the checksums of the frames of a journal, as far as they follow one another.
pub fn repair_frames(bytes: &mut [u8]) {
    let Some(id) = bytes.get(12..28).map(<[u8]>::to_vec) else { return };
    let mut at = 4096;
    while bytes.len() >= at + 76 {
        let (envelope, payload) = (number(bytes, at + 8), number(bytes, at + 12));
        let Some(end) = (at + 76).checked_add(envelope).and_then(|n| n.checked_add(payload)) else {
            return;
        };
        if let Some(body) = bytes.get(at + 40..end) {
            let crc = crc32fast::hash(body);
            put(bytes, at + 32, crc);
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&id);
        crc.update(&(at as u64).to_le_bytes());
        crc.update(&bytes[at..at + 36]);
        put(bytes, at + 36, crc.finalize());
        at = end.next_multiple_of(8);
    }
}

/// Repairs the checksums of the units that follow one another from `at` on.
pub fn repair_units(bytes: &mut [u8], mut at: usize) {
    while at + 48 <= bytes.len() {
        match repair_unit(bytes, at) {
            Some(end) if end > at => at = end,
            _ => return,
        }
    }
}

/// Repairs the checksums of the slots of a key file.
pub fn repair_slots(text: &mut [u8]) {
    let Some(slots) = text.get_mut(21..) else { return };
    for slot in slots.chunks_exact_mut(118) {
        let crc = crc32fast::hash(&slot[..109]);
        slot[109..].copy_from_slice(format!("{crc:08x}\n").as_bytes());
    }
}

/// Repairs the checksum of a segment's footer.
pub fn repair_footer(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(48) else { return };
    let crc = crc32fast::hash(&bytes[at..at + 32]);
    put(bytes, at + 32, crc);
}

/// Repairs the checksum of a keyring's wrapping header; returns where its body begins.
pub fn repair_wrapping(bytes: &mut [u8]) -> Option<usize> {
    let end = 56usize.checked_add(number(bytes, 48))?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(32..52)?);
    crc.update(bytes.get(56..end)?);
    put(bytes, 52, crc.finalize());
    Some(end)
}
