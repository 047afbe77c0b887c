//! Errors of the remote, classified by HTTP status.
//!
//! Servers differ in codes and bodies and agree in statuses: 404 is absence whatever the code (and not an error here:
//! callers get `None`), 403 is a denial, 412 and 416 are conditions that do not hold. Bodies may be empty. Every error
//! names the attempted request: verb, object and bucket. Errors never contain credentials.

use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::fsx;

/// An attempted request: a verb, an object (or a prefix), and the place of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Kind of request, such as `get` or `list`.
    pub verb: &'static str,
    /// Name of the object, or the prefix of a listing.
    pub object: String,
    /// Place of the objects, for people, such as `bucket b`.
    pub place: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.verb, self.object, self.place)
    }
}

/// Why a request to the remote failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The settings are not usable.
    #[error("{0}")]
    Setting(String),
    /// There are no credentials, or they could not be obtained.
    #[error("no credentials for the remote: {0}")]
    Credentials(String),
    /// The server denied the request (403 or 401).
    #[error("{attempt}: denied: {}", describe_answer(*status, code, message))]
    Denied {
        /// The attempted request.
        attempt: Attempt,
        /// HTTP status of the answer.
        status: u16,
        /// Error code from the server; may be empty.
        code: String,
        /// Message from the server, as one line; may be empty.
        message: String,
    },
    /// The server answered with another status that is not success.
    #[error("{attempt}: {}", describe_answer(*status, code, message))]
    Status {
        /// The attempted request.
        attempt: Attempt,
        /// HTTP status of the answer.
        status: u16,
        /// Error code from the server; may be empty.
        code: String,
        /// Message from the server, as one line; may be empty.
        message: String,
    },
    /// The connection failed or broke.
    #[error("{attempt}: cannot reach the server: {reason}")]
    Unreachable {
        /// The attempted request.
        attempt: Attempt,
        /// Cause, as the transport reports it.
        reason: String,
    },
    /// The server or the whole transfer took too long.
    #[error("{attempt}: timed out")]
    TimedOut {
        /// The attempted request.
        attempt: Attempt,
    },
    /// The caller cancelled the transfer.
    #[error("{attempt}: cancelled")]
    Cancelled {
        /// The attempted request.
        attempt: Attempt,
    },
    /// The breaker is open: the server failed too often, so the request was not sent.
    #[error("{attempt}: not tried: the remote failed too often, next try in {} s", retry_in.as_secs().max(1))]
    BreakerOpen {
        /// The request that was not sent.
        attempt: Attempt,
        /// Time until a request may be sent again.
        retry_in: Duration,
    },
    /// The answer is not a valid one for S3, or ended too early.
    #[error("{attempt}: {reason}")]
    InvalidAnswer {
        /// The attempted request.
        attempt: Attempt,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The object is longer or shorter than declared.
    #[error("{attempt}: {actual} bytes, not {declared}")]
    Size {
        /// The attempted request.
        attempt: Attempt,
        /// Size that the caller expects, or the largest that it accepts, in bytes.
        declared: u64,
        /// Size that the server declared or sent, in bytes.
        actual: u64,
    },
    /// The bytes of the object, or of the local file to upload, do not match the declared digest.
    #[error("{attempt}: the bytes are not the expected ones")]
    Digest {
        /// The attempted request.
        attempt: Attempt,
    },
    /// The object changed during every download, or the server lost every upload of it.
    #[error("{attempt}: it changed meanwhile")]
    Changed {
        /// The attempted request.
        attempt: Attempt,
    },
    /// An operation on a local file failed.
    #[error(transparent)]
    File(#[from] fsx::Error),
}

fn describe_answer(status: u16, code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => format!("status {status}"),
        (code, "") => format!("status {status} {code}"),
        ("", message) => format!("status {status}: {message}"),
        (code, message) => format!("status {status} {code}: {message}"),
    }
}

/// Result of an operation on the remote.
pub type Result<T> = std::result::Result<T, RemoteError>;

impl RemoteError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            // The SDK reads the server's clock from the answer and uses it from then on.
            Self::Denied { code, .. } => code == "RequestTimeTooSkewed",
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::InvalidAnswer { .. } => true,
            _ => false,
        }
    }

    /// Whether the error shows a problem of the server, or of the connection to it. A rate limit (429) does not.
    pub(super) fn is_server_failure(&self) -> bool {
        self.is_transient() && !matches!(self, Self::Denied { .. } | Self::Status { status: 429, .. })
    }

    /// HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Denied { status, .. } | Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Most characters of a server's message that are kept.
const MAX_MESSAGE_CHARS: usize = 300;

/// Classifies an SDK error. `None`: absent (404). A 404 for a missing bucket is an error, since every object would be
/// absent.
pub(super) fn classify<E>(attempt: &Attempt, error: &SdkError<E>) -> Option<RemoteError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let attempt = attempt.clone();
    if let Some(response) = error.raw_response() {
        let status = response.status().as_u16();
        let line = |text: Option<&str>| one_line(text.unwrap_or_default());
        let (code, message) = (line(error.code()), line(error.message()));
        return match status {
            404 if code != "NoSuchBucket" => None,
            401 | 403 => Some(RemoteError::Denied { attempt, status, code, message }),
            200..=299 => Some(RemoteError::InvalidAnswer { attempt, reason: "the answer cannot be read".to_owned() }),
            _ => Some(RemoteError::Status { attempt, status, code, message }),
        };
    }
    let reason = root_cause(error);
    Some(match error {
        SdkError::TimeoutError(_) => RemoteError::TimedOut { attempt },
        _ if has_credentials_error(error) => RemoteError::Credentials(reason),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => RemoteError::TimedOut { attempt },
        SdkError::DispatchFailure(_) => RemoteError::Unreachable { attempt, reason },
        _ => RemoteError::Setting(format!("{attempt}: {reason}")),
    })
}

/// Turns text from the server, which may contain anything, into one short line.
pub(in crate::remote) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

/// The message of the innermost cause: the outer errors only report that a request failed.
pub(in crate::remote) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

/// The error for a 404 where absence is not a valid answer.
pub(in crate::remote) fn absent_error(attempt: &Attempt) -> RemoteError {
    RemoteError::Status { attempt: attempt.clone(), status: 404, code: String::new(), message: "not found".to_owned() }
}

fn has_credentials_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::error::ErrorMetadata;

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Fake(ErrorMetadata);

    impl ProvideErrorMetadata for Fake {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    fn attempt() -> Attempt {
        Attempt { verb: "get", object: "v1/x".to_owned(), place: "bucket b".to_owned() }
    }

    fn classified(status: u16, code: &str, message: &str) -> Option<RemoteError> {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        let response = aws_sdk_s3::config::http::HttpResponse::new(status.try_into().unwrap(), "".into());
        classify(&attempt(), &SdkError::service_error(Fake(meta), response))
    }

    #[test]
    fn the_status_decides_and_not_the_code() {
        for code in ["NoSuchKey", "NotFound", "", "Whatever"] {
            assert!(classified(404, code, "").is_none(), "{code}");
            assert!(matches!(classified(403, code, ""), Some(RemoteError::Denied { status: 403, .. })), "{code}");
            assert!(classified(503, code, "").unwrap().is_transient(), "{code}");
            assert!(!classified(412, code, "").unwrap().is_transient(), "{code}");
        }
        assert_eq!(classified(404, "NoSuchBucket", "").unwrap().status(), Some(404));
        assert!(matches!(classified(200, "", ""), Some(RemoteError::InvalidAnswer { .. })));
        let is_failure = |status| classified(status, "", "").is_some_and(|error| error.is_server_failure());
        assert_eq!([429, 403, 503, 500].map(is_failure), [false, false, true, true]);
    }

    #[test]
    fn errors_say_status_code_message_and_what_was_tried() {
        let error = classified(403, "InvalidAccessKeyId", "no such\nkey").unwrap().to_string();
        assert_eq!(error, "get v1/x in bucket b: denied: status 403 InvalidAccessKeyId: no such key");
        assert_eq!(classified(412, "", "").unwrap().to_string(), "get v1/x in bucket b: status 412");
    }

    #[test]
    fn a_wrong_clock_is_asked_again_once_the_sdk_has_learnt_the_right_time() {
        assert!(classified(403, "RequestTimeTooSkewed", "").unwrap().is_transient());
        assert!(!classified(403, "AccessDenied", "").unwrap().is_transient());
    }

    #[test]
    fn missing_credentials_are_told_from_a_missing_server() {
        let of = |source: Box<dyn std::error::Error + Send + Sync>| {
            classify(&attempt(), &SdkError::<Fake>::construction_failure(source)).unwrap()
        };
        assert!(matches!(of(Box::new(CredentialsError::not_loaded("none"))), RemoteError::Credentials(_)));
        assert!(matches!(of("bad".into()), RemoteError::Setting(_)));
    }
}
