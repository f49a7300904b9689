//! What of an answer is read whoever sent it: its type, and the words of a refusal.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::time;

use crate::media;
use crate::text::printable;

/// How much of an error's body is read for its first line: what our own errors may have.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 1024;

/// How long is waited for that line: it comes with the head of the answer or right after it, and an error
/// is final without it.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(250);

/// The value of `Content-Type`, where it is text.
pub(crate) fn content_type(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

/// Whether the body is a page for people, as something other than an API sends it.
pub(crate) fn is_web_page(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|content_type| {
        let essence = media::essence(content_type.as_bytes());
        matches!(&*essence, "text/html" | "application/xhtml+xml")
    })
}

/// The first line of an error's body, or what came of it in time; printable, and empty where none can be
/// read.
pub(super) async fn first_line(mut response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while body.len() < ERROR_TEXT_BYTES_MAX && !body.contains(&b'\n') {
            match response.chunk().await {
                Ok(Some(bytes)) => body.extend(bytes.iter().take(ERROR_TEXT_BYTES_MAX)),
                Ok(None) | Err(_) => break,
            }
        }
    };
    // What was read until then is told either way.
    let _ = time::timeout(ERROR_TEXT_WAIT, read).await;
    body.truncate(ERROR_TEXT_BYTES_MAX);
    let text = String::from_utf8_lossy(&body);
    printable(text.lines().next().unwrap_or_default().trim()).into_owned()
}
