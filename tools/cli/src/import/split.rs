//! Splitting a stream into pieces, one event each: lines, or elements of a JSON array.
//!
//! A piece over the limit is passed over without being kept, so that no file can ask for more memory than one chunk may have.

use std::io::{self, BufRead};

use reelvault::limits::CHUNK_BYTES_MAX;

/// A piece: where it was, and what became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// It is in the buffer. The number of the line it began in.
    Whole(u64),
    /// It is over the limit.
    TooLong(u64),
    /// There is something else than a piece.
    Wrong(u64, &'static str),
}

/// Lines without their ends; empty ones are passed over.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// The number of the line read last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line into `buf`; `None` at the end.
    pub(super) fn next(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        loop {
            buf.clear();
            self.number += 1;
            let Some(whole) = self.line(buf)? else { return Ok(None) };
            if !whole {
                return Ok(Some(Piece::TooLong(self.number)));
            }
            let text = buf.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let from = text.as_ptr() as usize - buf.as_ptr() as usize;
            let len = text.len();
            buf.truncate(from + len);
            buf.drain(..from);
            return Ok(Some(Piece::Whole(self.number)));
        }
    }

    /// Reads up to the next line feed; false if the line was too long, `None` at the end of the stream.
    fn line(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<bool>> {
        let (mut any, mut whole) = (false, true);
        loop {
            let read = self.reader.fill_buf()?;
            if read.is_empty() {
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = read.iter().position(|b| *b == b'\n');
            let used = end.map_or(read.len(), |at| at + 1);
            let text = &read[..end.unwrap_or(read.len())];
            if buf.len() + text.len() > CHUNK_BYTES_MAX {
                whole = false;
                buf.clear();
            } else if whole {
                buf.extend_from_slice(text);
            }
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(whole));
            }
        }
    }
}

/// Elements of one JSON array. White space between tokens is dropped, so that each becomes one line.
///
/// Only strings and brackets are looked at; whether an element is JSON is for its reader to say.
pub(super) struct Elements<R> {
    reader: R,
    scan: Scan,
}

/// Where in the array the reader stands.
struct Scan {
    line: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Before,
    /// In the array.
    Inside,
    /// After the closing bracket.
    After,
    /// Where nothing more is expected.
    Ended,
}

/// How far an element has come.
#[derive(Default)]
struct Progress {
    begun: u64,
    depth: usize,
    in_string: bool,
    escaped: bool,
    too_long: bool,
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, scan: Scan { line: 1, state: State::Before } }
    }

    /// The number of the line reached.
    pub(super) fn number(&self) -> u64 {
        self.scan.line
    }

    /// The next element into `buf`; `None` at the end.
    pub(super) fn next(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        buf.clear();
        let mut element = Progress::default();
        while self.scan.state != State::Ended {
            let read = self.reader.fill_buf()?;
            if read.is_empty() {
                return Ok(self.scan.end_of_stream());
            }
            let len = read.len();
            for (at, byte) in read.iter().enumerate() {
                if let Some(piece) = self.scan.step(*byte, &mut element, buf) {
                    self.reader.consume(at + 1);
                    return Ok(Some(piece));
                }
            }
            self.reader.consume(len);
        }
        Ok(None)
    }
}

impl Scan {
    fn end_of_stream(&mut self) -> Option<Piece> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::After | State::Ended => None,
            _ => Some(Piece::Wrong(self.line, "the file ends within the array")),
        }
    }

    /// Takes a byte; returns the element that ends with it.
    fn step(&mut self, byte: u8, e: &mut Progress, buf: &mut Vec<u8>) -> Option<Piece> {
        if byte == b'\n' {
            self.line += 1;
        }
        if e.in_string {
            self.keep(byte, e, buf);
            e.in_string = e.escaped || byte != b'"';
            e.escaped = !e.escaped && byte == b'\\';
            return None;
        }
        if byte.is_ascii_whitespace() {
            return None;
        }
        match (self.state, byte) {
            (State::Before, b'[') => {
                self.state = State::Inside;
                return None;
            }
            (State::Inside, b',') if e.depth == 0 => return finish(e),
            (State::Inside, b']') if e.depth == 0 => {
                self.state = State::After;
                return finish(e);
            }
            (State::Inside, _) => {}
            _ => {
                self.state = State::Ended;
                return Some(Piece::Wrong(self.line, "something follows the array"));
            }
        }
        match byte {
            b'"' => e.in_string = true,
            b'{' | b'[' => e.depth += 1,
            b'}' | b']' => e.depth = e.depth.saturating_sub(1),
            _ => {}
        }
        self.keep(byte, e, buf);
        None
    }

    fn keep(&self, byte: u8, e: &mut Progress, buf: &mut Vec<u8>) {
        if e.begun == 0 {
            e.begun = self.line;
        }
        if buf.len() == CHUNK_BYTES_MAX {
            e.too_long = true;
            buf.clear();
        }
        if !e.too_long {
            buf.push(byte);
        }
    }
}

fn finish(e: &Progress) -> Option<Piece> {
    match (e.begun, e.too_long) {
        // Nothing stands between two commas, and nobody misses it.
        (0, _) => None,
        (line, true) => Some(Piece::TooLong(line)),
        (line, false) => Some(Piece::Whole(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Vec<(Piece, String)> {
        // A small buffer puts its ends everywhere.
        let reader = io::BufReader::with_capacity(3, text.as_bytes());
        let mut elements = Elements::new(reader);
        let mut buf = Vec::new();
        let mut found = Vec::new();
        while let Some(piece) = elements.next(&mut buf).unwrap() {
            found.push((piece, String::from_utf8(buf.clone()).unwrap()));
        }
        found
    }

    #[test]
    fn elements_become_lines() {
        let text = "\n[ {\"a\": \"x, ]} \\\" y\\\\\"},\n {\"b\":\n [1, {}]} ]\n";
        let expected = [
            (Piece::Whole(2), r#"{"a":"x, ]} \" y\\"}"#.to_owned()),
            (Piece::Whole(3), r#"{"b":[1,{}]}"#.to_owned()),
        ];
        assert_eq!(elements(text), expected);
        assert!(elements("[]").is_empty());
        assert!(elements(" [ ] ").is_empty());
    }

    #[test]
    fn broken_arrays_are_told() {
        let last = |text: &str| elements(text).pop().unwrap().0;
        assert_eq!(last("[{}"), Piece::Wrong(1, "the file ends within the array"));
        assert_eq!(last("[{\"a\":\"\n"), Piece::Wrong(2, "the file ends within the array"));
        assert_eq!(last("[{}]\n x"), Piece::Wrong(2, "something follows the array"));
    }

    #[test]
    fn lines_are_numbered_and_trimmed() {
        let reader = io::BufReader::with_capacity(2, &b"{}\r\n\n  {\"a\":1} \n{}"[..]);
        let mut lines = Lines::new(reader);
        let mut buf = Vec::new();
        let mut found = Vec::new();
        while let Some(piece) = lines.next(&mut buf).unwrap() {
            found.push((piece, String::from_utf8(buf.clone()).unwrap()));
        }
        let whole = |n, text: &str| (Piece::Whole(n), text.to_owned());
        assert_eq!(found, [whole(1, "{}"), whole(3, "{\"a\":1}"), whole(4, "{}")]);
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let long = "x".repeat(CHUNK_BYTES_MAX + 1);
        let text = format!("{long}\n{{}}\n");
        let mut lines = Lines::new(text.as_bytes());
        let mut buf = Vec::new();
        assert_eq!(lines.next(&mut buf).unwrap(), Some(Piece::TooLong(1)));
        assert_eq!(lines.next(&mut buf).unwrap(), Some(Piece::Whole(2)));
        let array = format!("[\"{long}\",{{}}]");
        let mut elements = Elements::new(array.as_bytes());
        assert_eq!(elements.next(&mut buf).unwrap(), Some(Piece::TooLong(1)));
        assert_eq!(elements.next(&mut buf).unwrap(), Some(Piece::Whole(1)));
    }
}
