//! Feeds the parser of forms. It takes all pieces of a body that are ready, and keeps them until it
//! finds the end of a part or can return them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

/// Bytes that the parser may keep before it gets another piece. The headers of a part are shorter.
const MAX_KEPT_BYTES: u64 = 1 << 20;

/// What a form adds to the bytes of its file.
pub(super) const MAX_FORM_BYTES: u64 = 64 << 10;

/// Counts the bytes of the form's file that the parser has returned.
#[derive(Debug, Clone, Default)]
pub(super) struct ReturnedBytes(Arc<AtomicU64>);

impl ReturnedBytes {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Passes the pieces of a body one by one, so that the parser returns each before it takes the next.
///
/// The stream fails after `max_bytes` ([`is_too_large`] recognizes this), and when the parser keeps
/// more than a form needs.
pub(super) fn feed_form<S>(
    body: S,
    max_bytes: u64,
    returned: ReturnedBytes,
) -> impl Stream<Item = io::Result<Bytes>>
where
    S: Stream<Item = io::Result<Bytes>>,
{
    let mut seen = 0_u64;
    let checked = body.map(move |piece| {
        let kept = seen.saturating_sub(returned.0.load(Ordering::Relaxed));
        let piece = piece?;
        seen += piece.len() as u64;
        match seen > max_bytes {
            true => Err(ErrorKind::FileTooLarge.into()),
            false if kept > MAX_KEPT_BYTES => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the boundary or the end of the headers of a part is missing",
            )),
            false => Ok(piece),
        }
    });
    // The pause is after each piece, also the last one: the parser does not look at a piece that comes
    // together with the end of the body.
    futures_util::stream::unfold((Box::pin(checked), false), async |(mut body, has_begun)| {
        if has_begun {
            tokio::task::yield_now().await;
        }
        let piece = body.next().await?;
        Some((piece, (body, true)))
    })
}

/// Whether a form failed because its body is too large.
pub(super) fn is_too_large(error: &multer::Error) -> bool {
    match error {
        multer::Error::StreamReadFailed(source) => source
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::FileTooLarge),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE_BYTES: usize = 64 << 10;

    /// Parses a form of one file whose body is always ready, and returns the largest piece.
    async fn largest_piece(head: &str, pieces: usize) -> Result<usize, multer::Error> {
        let head = [Ok(Bytes::copy_from_slice(head.as_bytes()))];
        let data = std::iter::repeat_with(|| Ok(Bytes::from(vec![b'a'; PIECE_BYTES]))).take(pieces);
        let tail = [Ok(Bytes::from_static(b"\r\n--x--\r\n"))];
        let body = futures_util::stream::iter(head.into_iter().chain(data).chain(tail));
        let returned = ReturnedBytes::default();
        let mut form = multer::Multipart::new(feed_form(body, 64 << 20, returned.clone()), "x");
        let mut largest = 0;
        while let Some(mut field) = form.next_field().await? {
            while let Some(piece) = field.chunk().await? {
                returned.add(piece.len());
                largest = largest.max(piece.len());
            }
        }
        Ok(largest)
    }

    #[tokio::test]
    async fn a_form_may_arrive_in_any_pieces() {
        let form = b"--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nabc\r\n--x--\r\n";
        for length in 1..=form.len() {
            let pieces = form
                .chunks(length)
                .map(|piece| Ok(Bytes::from_static(piece)));
            let body = futures_util::stream::iter(pieces.collect::<Vec<_>>());
            let fed = feed_form(body, 1000, ReturnedBytes::default());
            let mut form = multer::Multipart::new(fed, "x");
            let field = form.next_field().await.unwrap().unwrap();
            assert_eq!(field.bytes().await.unwrap(), "abc", "{length}");
            assert!(form.next_field().await.unwrap().is_none(), "{length}");
        }
    }

    #[tokio::test]
    async fn the_parser_keeps_little() {
        let head = "--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";
        let largest = largest_piece(head, 800).await.unwrap();
        assert!(largest <= 4 * PIECE_BYTES, "{largest}");
        for endless in ["no boundary", "--x\r\nContent-Disposition: "] {
            let error = largest_piece(endless, 800).await.unwrap_err();
            assert!(!is_too_large(&error), "{error:?}");
            assert!(
                matches!(error, multer::Error::StreamReadFailed(_)),
                "{error:?}"
            );
        }
        let error = largest_piece(head, 1100).await.unwrap_err();
        assert!(is_too_large(&error), "{error:?}");
    }
}
