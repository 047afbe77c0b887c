//! Size limit for answers that the SDK buffers before it parses them: all except the objects themselves.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame};

/// Longest accepted answer in bytes; a page of a listing takes a few hundred kilobytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// Which answers to a request are limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AnswerLimit {
    /// All answers, for requests that are not answered with an object.
    All,
    /// Answers with an error status: the others are objects, which kache reads as streams.
    Errors,
}

impl Intercept for AnswerLimit {
    fn name(&self) -> &'static str {
        "kache::AnswerLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if *self == Self::All || !context.response().status().is_success() {
            let body = context.response_mut().body_mut();
            let inner = std::mem::replace(body, SdkBody::taken());
            *body = SdkBody::from_body_1_x(LimitedBody { inner, left: MAX_ANSWER_BYTES });
        }
        Ok(())
    }
}

/// A body that fails once it exceeds the limit.
struct LimitedBody {
    inner: SdkBody,
    left: u64,
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
            match self.left.checked_sub(bytes) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err("the answer is too long".into()))),
            }
        }
        Poll::Ready(frame)
    }
}
