//! A connection that ends when it is idle, slow or blocked for too long.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::registry::ConnectionEntry;

pub(in crate::http) struct ServedStream {
    stream: TcpStream,
    entry: ConnectionEntry,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
}

impl ServedStream {
    pub(super) fn new(stream: TcpStream, entry: ConnectionEntry) -> Self {
        let now = Instant::now();
        Self {
            stream,
            entry,
            read_timer: Box::pin(sleep_until(now)),
            write_timer: Box::pin(sleep_until(now)),
        }
    }

    /// Returns whether nothing arrived in time; otherwise the task wakes up at the deadline.
    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &self.entry.state;
        loop {
            let Some(deadline) = state.lock_activity().read_deadline(&state.limits) else {
                return Poll::Pending;
            };
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.read_timer.as_mut().reset(deadline);
            if self.read_timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Records a write, or fails if the client has accepted nothing for too long.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let state = &self.entry.state;
        if result.is_ready() {
            state.lock_activity().record_write(Instant::now());
            return result;
        }
        if state.lock_activity().block_write() {
            let deadline = Instant::now() + state.limits.idle_timeout;
            self.write_timer.as_mut().reset(deadline);
        }
        self.write_timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ServedStream {
    /// At the deadline, the connection reads as if the client had closed it.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.entry.state.reader.register(cx.waker());
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => this.poll_read_deadline(cx).map(Ok),
            ready => {
                if buffer.filled().len() > before {
                    let mut activity = this.entry.state.lock_activity();
                    activity.record_read(Instant::now());
                } else if buffer.remaining() > 0 {
                    this.entry.state.closed.cancel();
                }
                ready
            }
        }
    }
}

impl AsyncWrite for ServedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
