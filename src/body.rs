//! Reading the body of a request or of an answer into memory, within a size.
//!
//! A body is never held beyond its limit, whatever its head declared: what is too large is refused as
//! soon as that is known. The body of a request also has a time: a client that sends slowly or stops
//! runs out of it. Both APIs read requests so, and tell the errors in their own ways.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use thiserror::Error;

/// How much of a request's body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes.
    pub(crate) bytes_max: u64,
    /// From the end of the head to the end of the body.
    pub(crate) timeout: Duration,
}

/// Why a request has no body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It has more bytes than are read.
    #[error("the request's body is larger than {bytes_max} bytes")]
    TooLarge {
        /// How many are read.
        bytes_max: u64,
    },
    /// It ended early, or is not what its head says.
    #[error("the request's body cannot be read to its end")]
    Broken,
    /// It did not come in time.
    #[error("the request's body did not come within {}", humantime::format_duration(*.timeout))]
    TimedOut {
        /// The time that it had.
        timeout: Duration,
    },
}

/// Why a body could not be collected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CollectError<E> {
    TooLarge,
    Source(E),
}

/// The whole body of a request, whether its length was declared or it comes in chunks. `declared` is the
/// value of `Content-Length`.
pub(crate) async fn read_request<E>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    declared: Option<&str>,
    limits: BodyLimits,
) -> Result<Bytes, BodyError> {
    let BodyLimits { bytes_max, timeout } = limits;
    let declared = declared.and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > bytes_max) {
        return Err(BodyError::TooLarge { bytes_max });
    }
    match tokio::time::timeout(timeout, collect(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(CollectError::TooLarge)) => Err(BodyError::TooLarge { bytes_max }),
        Ok(Err(CollectError::Source(_))) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TimedOut { timeout }),
    }
}

/// The whole of a body that has at most `bytes_max`.
pub(crate) async fn collect<E>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    bytes_max: u64,
) -> Result<Bytes, CollectError<E>> {
    let mut collected = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(CollectError::Source)?;
        if (collected.len() + chunk.len()) as u64 > bytes_max {
            return Err(CollectError::TooLarge);
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected.freeze())
}

/// What is said of the compression of a body by these lines of `Content-Encoding`; `None`: there is none.
pub(crate) fn compression<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let all = lines.map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ");
    let is_none = |name: &str| name.is_empty() || name.eq_ignore_ascii_case("identity");
    let is_plain = all.split(',').all(|name| is_none(name.trim()));
    (!is_plain).then_some(all)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes_max: 5, timeout: Duration::from_secs(10) };

    async fn read_chunks(
        chunks: &[&'static str],
        declared: Option<&str>,
    ) -> Result<Bytes, BodyError> {
        let chunks = chunks.iter().map(|chunk| match *chunk {
            "!" => Err(()),
            chunk => Ok(Bytes::from_static(chunk.as_bytes())),
        });
        read_request(stream::iter(chunks), declared, LIMITS).await
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read_chunks(&["ab", "cde"], None).await.unwrap(), "abcde");
        assert_eq!(read_chunks(&[], Some("0")).await.unwrap(), "");
        let too_large = Err(BodyError::TooLarge { bytes_max: 5 });
        assert_eq!(read_chunks(&["abc", "def"], None).await, too_large);
        assert_eq!(read_chunks(&["ab"], Some("6")).await, too_large);
        assert_eq!(read_chunks(&["ab", "!"], None).await, Err(BodyError::Broken));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_runs_out_of_time() {
        let never = stream::pending::<Result<Bytes, ()>>();
        let timed_out = BodyError::TimedOut { timeout: LIMITS.timeout };
        assert_eq!(read_request(never, None, LIMITS).await, Err(timed_out));
    }

    #[test]
    fn what_is_compressed_is_not_taken_as_it_is() {
        let compression = |lines: &[&str]| compression(lines.iter().map(|line| line.as_bytes()));
        for plain in [&[][..], &[""], &["identity"], &["Identity, identity"], &["", "identity"]] {
            assert_eq!(compression(plain), None, "{plain:?}");
        }
        for (lines, expected) in [
            (&["gzip"][..], "gzip"),
            (&["identity, br"], "identity, br"),
            (&["identity", "zstd"], "identity, zstd"),
        ] {
            assert_eq!(compression(lines).as_deref(), Some(expected));
        }
    }
}
