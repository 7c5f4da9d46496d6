//! A replay on its way to a client: piece by piece as the client takes them, within a bound of memory that all share.
//!
//! Nothing is read before it is asked for, and no thread waits for a client. When the client goes away the body is dropped,
//! and with it the replay.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Frame;
use reelvault::PackedReplay;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::app::App;
use crate::limits::{PIECE_BYTES, READ_BYTES_MAX};
use crate::memory::{Held, Need};
use crate::monitor::metrics::Kind;
use crate::problem::Problem;

/// Largest window of a stored frame, as a power of two: what a browser accepts (RFC 9659).
const WINDOW_LOG_MAX: u32 = 23;

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is stored.
    Zstd,
    Gzip,
    Plain,
}

impl Coding {
    /// Its name in `Content-Encoding`; empty for none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Plain => "",
        }
    }
}

/// A source of pieces. It blocks.
pub(crate) trait Pieces: Send + 'static {
    /// Bytes of memory that the next step takes, as far as can be told.
    fn next_bytes(&self) -> usize;

    /// Whether what is stored is unpacked for the client.
    fn unpacks(&self) -> bool;

    /// Appends what comes next; whether there is more.
    fn next(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Problem>;

    /// Whether what a step took is needed for the one after it, too.
    fn keeps_memory(&self) -> bool {
        false
    }
}

type Step<P> =
    Pin<Box<dyn Future<Output = Result<(P, Option<Held>, Vec<u8>, bool), Problem>> + Send>>;

/// A body made of pieces.
pub(crate) struct PieceBody<P: Pieces> {
    app: Arc<App>,
    request: Arc<str>,
    /// What was made and not yet taken.
    ready: Bytes,
    held: Option<Held>,
    state: State<P>,
}

enum State<P: Pieces> {
    Idle(Box<P>),
    Working(Step<Box<P>>),
    Done,
}

impl<P: Pieces> PieceBody<P> {
    pub(crate) fn new(app: Arc<App>, request: Arc<str>, pieces: P) -> Self {
        let state = State::Idle(Box::new(pieces));
        Self { app, request, ready: Bytes::new(), held: None, state }
    }

    /// Makes the first piece, unless [`begin_here`](Self::begin_here) has.
    pub(crate) async fn begin(mut self) -> Result<Self, Problem> {
        if self.has_begun() {
            return Ok(self);
        }
        if let State::Idle(pieces) = std::mem::replace(&mut self.state, State::Done) {
            let outcome = step(Arc::clone(&self.app), pieces, None).await?;
            self.take(outcome);
        }
        Ok(self)
    }

    /// Makes the first piece where it may block, if there is memory for it right now: a short replay is then made in one go.
    pub(crate) fn begin_here(mut self) -> Result<Self, Problem> {
        if let State::Idle(mut pieces) = std::mem::replace(&mut self.state, State::Done) {
            let Some(held) = self.app.memory.hold_now(need(&*pieces)) else {
                self.state = State::Idle(pieces);
                return Ok(self);
            };
            let mut made = Vec::new();
            let more = pieces.next(&self.app, &mut made)?;
            self.take((pieces, Some(held), made, more));
        }
        Ok(self)
    }

    /// Whether its first piece was made.
    pub(crate) fn has_begun(&self) -> bool {
        self.held.is_some()
    }

    fn take(&mut self, (pieces, held, made, more): (Box<P>, Option<Held>, Vec<u8>, bool)) {
        self.ready = made.into();
        self.held = held;
        self.state = if more { State::Idle(pieces) } else { State::Done };
    }

    fn failed(&mut self, problem: &Problem) -> axum::Error {
        self.state = State::Done;
        self.app.met(problem);
        tracing::warn!(request = %self.request, kind = problem.kind(), "a body broke off");
        axum::Error::new(std::io::Error::other(problem.kind()))
    }
}

/// What the next step takes.
fn need<P: Pieces>(pieces: &P) -> Need {
    Need { bytes: pieces.next_bytes(), unpacks: pieces.unpacks() }
}

async fn step<P: Pieces>(
    app: Arc<App>,
    mut pieces: Box<P>,
    held: Option<Held>,
) -> Result<(Box<P>, Option<Held>, Vec<u8>, bool), Problem> {
    let held = match held.filter(|_| pieces.keeps_memory()) {
        Some(held) => held,
        None => {
            let need = need(&*pieces);
            app.memory.hold(need).await.ok_or_else(Problem::busy)?
        }
    };
    let working = Arc::clone(&app);
    let done = app.blocking.engine(move || {
        let mut made = Vec::new();
        let more = pieces.next(&working, &mut made)?;
        Ok((pieces, Some(held), made, more))
    });
    done.await?
}

impl<P: Pieces> http_body::Body for PieceBody<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if !self.ready.is_empty() {
                let bytes = self.ready.len().min(PIECE_BYTES);
                return Poll::Ready(Some(Ok(Frame::data(self.ready.split_to(bytes)))));
            }
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => {
                    self.held = None;
                    return Poll::Ready(None);
                }
                State::Idle(pieces) => {
                    // All of it was taken: its memory is free, unless the next step goes on with it.
                    let held = self.held.take();
                    let step = step(Arc::clone(&self.app), pieces, held);
                    self.state = State::Working(Box::pin(step));
                }
                State::Working(mut step) => match step.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::Working(step);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(outcome)) => self.take(outcome),
                    Poll::Ready(Err(problem)) => {
                        let error = self.failed(&problem);
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && matches!(self.state, State::Done)
    }
}

/// A session's events as pieces.
pub(crate) struct EventPieces {
    replay: PackedReplay,
    coding: Coding,
    /// A frame that is being decompressed, and how much of it was.
    frame: Vec<u8>,
    at: usize,
    open: bool,
    decoder: Option<Decoder<'static>>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    sent: bool,
}

pub(crate) type Streamed = PieceBody<EventPieces>;

impl PieceBody<EventPieces> {
    /// Streams a replay.
    pub(crate) fn replay(
        app: Arc<App>,
        request: Arc<str>,
        replay: PackedReplay,
        coding: Coding,
    ) -> Self {
        Self::new(app, request, EventPieces::new(replay, coding))
    }
}

impl EventPieces {
    pub(crate) fn new(replay: PackedReplay, coding: Coding) -> Self {
        let gzip =
            matches!(coding, Coding::Gzip).then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self {
            replay: replay.read_bytes_max(READ_BYTES_MAX),
            coding,
            frame: Vec::new(),
            at: 0,
            open: false,
            decoder: None,
            gzip,
            sent: false,
        }
    }

    /// The next stored frame, appended to `out`; whether there was one.
    fn frame(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Problem> {
        let played = self.replay.next_frame(out)?;
        if let Some(played) = played {
            let kind = if played.as_stored { "as_stored" } else { "packed_anew" };
            app.metrics.frames.get_or_create(&Kind { kind }).inc();
        }
        Ok(played.is_some())
    }

    /// The next decompressed bytes, appended to `out`; false at the end.
    pub(crate) fn plain(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Problem> {
        if !self.open {
            self.frame.clear();
            self.at = 0;
            let mut frame = std::mem::take(&mut self.frame);
            let more = self.frame(app, &mut frame);
            self.frame = frame;
            if !more? {
                self.decoder = None;
                return Ok(false);
            }
            let mut decoder = Decoder::new().map_err(|_| Problem::internal())?;
            let window = zstd::stream::raw::DParameter::WindowLogMax(WINDOW_LOG_MAX);
            decoder.set_parameter(window).map_err(|_| Problem::internal())?;
            self.decoder = Some(decoder);
            self.open = true;
        }
        let Some(decoder) = &mut self.decoder else { return Err(Problem::internal()) };
        let mut piece = vec![0; PIECE_BYTES];
        let mut written = 0;
        while written < piece.len() {
            let mut input = InBuffer::around(&self.frame[self.at..]);
            let mut output = OutBuffer::around(&mut piece[written..]);
            let left = decoder.run(&mut input, &mut output).map_err(|_| Problem::internal())?;
            let (read, made) = (input.pos, output.pos());
            self.at += read;
            written += made;
            if left == 0 {
                // The frame has ended, and all of it has come out.
                self.open = false;
                break;
            }
            if read == 0 && made == 0 {
                return Err(Problem::internal());
            }
        }
        out.extend_from_slice(&piece[..written]);
        Ok(true)
    }
}

impl Pieces for EventPieces {
    fn next_bytes(&self) -> usize {
        let next = self.replay.next_bytes();
        match self.coding {
            // What is read, and the copy of it that is sent.
            Coding::Zstd => 2 * next.stored,
            // And a window to decompress in, until the frame is through.
            _ => 2 * next.stored + next.raw.min(1 << WINDOW_LOG_MAX) + 2 * PIECE_BYTES,
        }
    }

    fn unpacks(&self) -> bool {
        self.coding != Coding::Zstd
    }

    fn keeps_memory(&self) -> bool {
        self.open
    }

    fn next(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Problem> {
        match self.coding {
            Coding::Zstd => {
                let more = self.frame(app, out)?;
                if !more && !self.sent {
                    // Nothing at all is still a zstd body: a frame of no bytes.
                    let empty = zstd::bulk::compress(&[], 1).map_err(|_| Problem::internal())?;
                    out.extend_from_slice(&empty);
                }
                self.sent = true;
                Ok(more && !self.replay.is_over())
            }
            Coding::Plain => self.plain(app, out),
            Coding::Gzip => {
                let mut piece = Vec::new();
                let more = self.plain(app, &mut piece)?;
                let Some(gzip) = &mut self.gzip else { return Ok(false) };
                gzip.write_all(&piece).map_err(|_| Problem::internal())?;
                if more {
                    out.append(gzip.get_mut());
                } else if let Some(gzip) = self.gzip.take() {
                    out.append(&mut gzip.finish().map_err(|_| Problem::internal())?);
                }
                Ok(more)
            }
        }
    }
}
