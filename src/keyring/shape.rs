//! Shapes: where something is left of a tree, as a string of bits that walks it.

use super::place::{Place, Placed};
use crate::format::codec::Malformed;

/// The shape of what is below `place` in a tree of so many levels.
pub(super) fn shape<T: Placed>(place: Place, depth: u8, items: &[T]) -> Vec<u8> {
    let mut bits = Bits::default();
    describe(place, depth, items, &mut |bit| bits.push(bit));
    bits.bytes
}

/// Bytes of a shape.
pub(super) fn shape_bytes<T: Placed>(place: Place, depth: u8, items: &[T]) -> usize {
    let mut count = 0usize;
    describe(place, depth, items, &mut |_| count += 1);
    count.div_ceil(8)
}

fn describe<T: Placed>(place: Place, depth: u8, items: &[T], push: &mut impl FnMut(bool)) {
    match items {
        [item] if item.place().level() == place.level() => push(true),
        _ if place.level() == depth => push(false),
        _ => {
            push(false);
            push(!items.is_empty());
            if !items.is_empty() {
                let is_low = |item: &T| place.turn(item.place().first()) == 0;
                let (low, high) = items.split_at(items.partition_point(is_low));
                describe(place.half(0), depth, low, push);
                describe(place.half(1), depth, high, push);
            }
        }
    }
}

/// The places that a shape names.
pub(super) fn places(shape: &[u8], place: Place, depth: u8) -> Result<Vec<Place>, Malformed> {
    let mut reading = Reading { bits: shape, at: 0, places: Vec::new() };
    reading.read(depth, place)?;
    reading.end()?;
    Ok(reading.places)
}

/// Bits on their way to disk, most significant first.
#[derive(Default)]
pub(super) struct Bits {
    pub(super) bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    pub(super) fn push(&mut self, bit: bool) {
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
struct Reading<'a> {
    bits: &'a [u8],
    at: usize,
    places: Vec<Place>,
}

impl Reading<'_> {
    fn bit(&mut self) -> Result<bool, Malformed> {
        let byte = self.bits.get(self.at / 8).ok_or(Malformed("tree shape"))?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Ok(bit)
    }

    /// Reads a subtree; whether anything is left of it. As deep as the tree, and as long as its bits.
    fn read(&mut self, depth: u8, place: Place) -> Result<bool, Malformed> {
        if self.bit()? {
            self.places.push(place);
            return Ok(true);
        }
        if place.level() == depth || !self.bit()? {
            return Ok(false);
        }
        let low = self.read(depth, place.half(0))?;
        let high = self.read(depth, place.half(1))?;
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
