//! Which redirects are followed: a bounded number, never from https to http, and, unless a person
//! sees the answer, only within one server.

use reqwest::redirect::{Attempt, Policy};
use reqwest::{StatusCode, Url};
use thiserror::Error;

/// Which redirects a client follows, and how many for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// None.
    Never,
    /// To the same host and port, or from the host's port 80 to its port 443, and by no other method:
    /// a server must not make us ask what only this machine or network can reach.
    SameServer {
        /// The most for one request.
        max: usize,
    },
    /// Anywhere: a person asks and sees the answer.
    Anywhere {
        /// The most for one request.
        max: usize,
    },
}

/// Why a redirect is not followed.
#[derive(Debug, Error, PartialEq, Eq)]
enum RedirectRefused {
    #[error("more than {0} redirects in a row")]
    TooMany(usize),
    #[error("it leads from https to http")]
    Downgrade,
    #[error("it leads to another server")]
    OtherServer,
    #[error("it asks for another method")]
    OtherMethod,
}

impl Redirects {
    /// The policy as reqwest takes it.
    pub(super) fn policy(self) -> Policy {
        Policy::custom(move |attempt| match self.check(&attempt) {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        })
    }

    fn check(self, attempt: &Attempt<'_>) -> Result<(), RedirectRefused> {
        match self {
            Self::Never => Err(RedirectRefused::TooMany(0)),
            Self::Anywhere { max } => check_redirect(attempt.previous(), attempt.url(), max),
            Self::SameServer { max } => {
                check_redirect(attempt.previous(), attempt.url(), max)?;
                if attempt.status() == StatusCode::SEE_OTHER {
                    // A redirected PUT would become a GET.
                    return Err(RedirectRefused::OtherMethod);
                }
                let from = attempt.previous().last();
                let is_same = from.is_some_and(|from| is_same_server(from, attempt.url()));
                if is_same { Ok(()) } else { Err(RedirectRefused::OtherServer) }
            }
        }
    }
}

/// `previous` begins with the URL that was asked for first.
fn check_redirect(
    previous: &[Url],
    next: &Url,
    redirects_max: usize,
) -> Result<(), RedirectRefused> {
    if previous.len() > redirects_max {
        return Err(RedirectRefused::TooMany(redirects_max));
    }
    let is_from_https = previous.last().is_some_and(|url| url.scheme() == "https");
    if is_from_https && next.scheme() != "https" {
        return Err(RedirectRefused::Downgrade);
    }
    Ok(())
}

/// Whether a redirect stays on its server: same host and port, or from port 80 to port 443.
fn is_same_server(from: &Url, to: &Url) -> bool {
    let ports = (from.port_or_known_default(), to.port_or_known_default());
    let is_upgrade = ports == (Some(80), Some(443));
    from.host() == to.host() && (ports.0 == ports.1 || is_upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_redirect_never_leads_from_https_to_http() {
        let secure = [url("https://a.example/")];
        let plain = [url("http://a.example/"), url("https://b.example/")];
        assert_eq!(
            check_redirect(&secure, &url("http://a.example/x"), 3),
            Err(RedirectRefused::Downgrade)
        );
        assert_eq!(
            check_redirect(&plain, &url("http://c.example/"), 3),
            Err(RedirectRefused::Downgrade)
        );
        assert_eq!(check_redirect(&plain, &url("https://c.example/"), 3), Ok(()));
        assert_eq!(check_redirect(&plain[..1], &url("http://c.example/"), 3), Ok(()));
        assert_eq!(
            check_redirect(&plain, &url("https://c.example/"), 1),
            Err(RedirectRefused::TooMany(1))
        );
    }

    #[test]
    fn the_same_server_is_one_host_and_port_or_its_https() {
        for (from, to, is_same) in [
            ("http://a.example/x", "http://a.example/y", true),
            ("http://a.example:8080/x", "http://a.example:8080/y", true),
            ("http://a.example/x", "https://a.example/x", true),
            ("https://a.example/x", "https://a.example:443/y", true),
            ("http://a.example:8080/x", "http://a.example:8081/x", false),
            ("http://a.example:8080/x", "https://a.example/x", false),
            ("http://a.example/x", "https://a.example:8443/x", false),
            ("http://a.example/x", "http://b.example/x", false),
            ("http://a.example/x", "http://127.0.0.1/x", false),
            ("http://127.0.0.1/x", "http://localhost/x", false),
            ("http://[::1]:1/x", "http://[::1]:1/y", true),
        ] {
            assert_eq!(is_same_server(&url(from), &url(to)), is_same, "{from} {to}");
        }
    }
}
