//! A connection that ends when nothing moves on it, or when its client takes too little for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;

/// What is expected of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Nothing moves for this long, and nobody waits for the client to take something.
    pub(crate) idle: Duration,
    /// Something waits for the client this long.
    pub(crate) stall: Duration,
    /// Bytes a second that a client must take on average while something waits for it.
    pub(crate) bytes_per_second_min: u32,
}

/// A stream with a watch.
pub(crate) struct Watched<S> {
    stream: S,
    pace: Pace,
    activity: Arc<Activity>,
    idle: Pin<Box<Sleep>>,
    stall: Pin<Box<Sleep>>,
    /// Whether something waits for the client, and how much it has taken since the stall's clock was set.
    waiting: bool,
    taken: u64,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        let pace = activity.pace();
        let sleep = |time| Box::pin(tokio::time::sleep(time));
        let (idle, stall) = (sleep(pace.idle), sleep(pace.stall));
        Self { stream, pace, activity, idle, stall, waiting: false, taken: 0 }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + self.pace.idle);
    }

    /// Something was written: the clock runs on while something waits, and is set anew once the client took its share.
    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>, cx: &mut Context<'_>) -> io::Result<()> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.moved();
                self.activity.wrote(*bytes as u64);
                self.taken += *bytes as u64;
                let share = u64::from(self.pace.bytes_per_second_min) * self.pace.stall.as_secs();
                if self.waiting && self.taken >= share.max(1) {
                    self.waiting = false;
                }
                Ok(())
            }
            Poll::Ready(Err(_)) => Ok(()),
            Poll::Pending => {
                if !self.waiting {
                    (self.waiting, self.taken) = (true, 0);
                    self.stall.as_mut().reset(Instant::now() + self.pace.stall);
                }
                match self.stall.as_mut().poll(cx) {
                    Poll::Ready(()) => Err(slow()),
                    Poll::Pending => Ok(()),
                }
            }
        }
    }
}

fn slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client is too slow")
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &outcome {
            Poll::Ready(_) => {
                if buf.filled().len() > before {
                    self.moved();
                }
                outcome
            }
            Poll::Pending => match self.idle.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(slow())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        match self.wrote(&outcome, cx) {
            Ok(()) => outcome,
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if outcome.is_pending() {
            let pending = Poll::Pending;
            if let Err(e) = self.wrote(&pending, cx) {
                return Poll::Ready(Err(e));
            }
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        if outcome.is_pending() {
            let pending = Poll::Pending;
            if let Err(e) = self.wrote(&pending, cx) {
                return Poll::Ready(Err(e));
            }
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        match self.wrote(&outcome, cx) {
            Ok(()) => outcome,
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn activity() -> Arc<Activity> {
        let ms = Duration::from_millis;
        Activity::new(Pace { idle: ms(200), stall: ms(1_000), bytes_per_second_min: 1_000 })
    }

    #[tokio::test]
    async fn a_silent_client_is_cut_off() {
        let (near, _far) = duplex(64);
        let mut near = Watched::new(near, activity());
        let e = near.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_a_byte_now_and_then_is_cut_off() {
        let (near, mut far) = duplex(64);
        let mut near = Watched::new(near, activity());
        let slow = tokio::spawn(async move {
            let mut byte = [0];
            while far.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let e = near.write_all(&vec![7; 100_000]).await.unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        drop(near);
        slow.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_takes_its_share_is_served() {
        let (near, mut far) = duplex(64);
        let mut near = Watched::new(near, activity());
        let steady = tokio::spawn(async move {
            let mut some = [0; 64];
            let mut all = 0;
            while let Ok(n @ 1..) = far.read(&mut some).await {
                all += n;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            all
        });
        near.write_all(&vec![7; 20_000]).await.unwrap();
        drop(near);
        assert_eq!(steady.await.unwrap(), 20_000);
    }
}
