//! Little-endian numbers, varints and byte strings, written to and read from memory.

use std::fmt;

/// What a decoder found wrong: the field that breaks a rule of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

/// Appends fields to a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, n: u8) {
        self.put(&[n]);
    }
    fn put_u16(&mut self, n: u16) {
        self.put(&n.to_le_bytes());
    }
    fn put_u32(&mut self, n: u32) {
        self.put(&n.to_le_bytes());
    }
    fn put_u64(&mut self, n: u64) {
        self.put(&n.to_le_bytes());
    }
    fn put_varint(&mut self, mut n: u64) {
        let mut bytes = [0u8; 10];
        let mut len = 0;
        loop {
            let low = (n & 0x7f) as u8;
            n >>= 7;
            bytes[len] = if n == 0 { low } else { low | 0x80 };
            len += 1;
            if n == 0 {
                return self.put(&bytes[..len]);
            }
        }
    }
    /// A signed difference, small in both directions.
    fn put_zigzag(&mut self, n: i64) {
        self.put_varint(((n << 1) ^ (n >> 63)).cast_unsigned());
    }
    /// A varint length, then the bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes fields from a buffer, each under its name.
#[derive(Clone)]
pub(crate) struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(field)?[0])
    }
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(Malformed(field));
            }
            n |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Malformed(field))
    }

    pub(crate) fn zigzag(&mut self, field: &'static str) -> Result<i64, Malformed> {
        let n = self.varint(field)?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    /// A varint of at most `max`.
    pub(crate) fn varint_max(&mut self, max: u64, field: &'static str) -> Result<u64, Malformed> {
        let n = self.varint(field)?;
        if n <= max { Ok(n) } else { Err(Malformed(field)) }
    }

    /// A varint that fits 32 bits.
    pub(crate) fn varint_u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(field)?).map_err(|_| Malformed(field))
    }

    /// The number of items that follow, each of at least `item_bytes_min`: never more than the bytes
    /// that are there could hold, so that a false count cannot cause an allocation.
    pub(crate) fn count(
        &mut self,
        item_bytes_min: usize,
        field: &'static str,
    ) -> Result<usize, Malformed> {
        let n = usize::try_from(self.varint(field)?).map_err(|_| Malformed(field))?;
        if n <= self.rest.len() / item_bytes_min.max(1) { Ok(n) } else { Err(Malformed(field)) }
    }

    /// A varint length of at most `max`, then as many bytes.
    pub(crate) fn byte_string(
        &mut self,
        max: usize,
        field: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let len = self.varint_max(max as u64, field)?;
        self.bytes(len as usize, field)
    }

    /// A byte string that is UTF-8.
    pub(crate) fn text(&mut self, max: usize, field: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.byte_string(max, field)?).map_err(|_| Malformed(field))
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, field: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(field)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(n: u64, z: i64, bytes: Vec<u8>) {
            let mut buf = Vec::new();
            buf.put_varint(n);
            buf.put_zigzag(z);
            buf.put_u64(n);
            buf.put_bytes(&bytes);
            let mut take = Take::new(&buf);
            prop_assert_eq!(take.varint("n"), Ok(n));
            prop_assert_eq!(take.zigzag("z"), Ok(z));
            prop_assert_eq!(take.u64("u"), Ok(n));
            prop_assert_eq!(take.byte_string(bytes.len(), "b"), Ok(&bytes[..]));
            prop_assert!(take.end("end").is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut take = Take::new(&bytes);
            while take.varint("v").is_ok() {}
            let _ = take.count(3, "c").map(|n| assert!(n <= bytes.len() / 3));
            let _ = take.text(10, "t");
        }
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert!(Take::new(&[0xff; 11]).varint("v").is_err());
        assert!(
            Take::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .varint("v")
                .is_err()
        );
        assert_eq!(
            Take::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varint("v"),
            Ok(u64::MAX)
        );
    }
}
