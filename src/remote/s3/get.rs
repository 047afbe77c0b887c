//! One GET of an object in a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::answer_limit::AnswerLimit;
use super::bucket::Bucket;
use super::connections::Connections;
use super::error::{Attempt, Result};
use super::range::{Range, interpret};
use super::source::{BodyFuture, ObjectBody, Source, Validator, strong};

impl Source for Bucket {
    fn connections(&self) -> &Connections {
        &self.0.connections
    }

    fn attempt(&self, verb: &'static str, object: &str) -> Attempt {
        Self::attempt(self, verb, object)
    }

    fn request_object<'a>(&'a self, name: &'a str, range: Option<Range>, expected: &'a Validator) -> BodyFuture<'a> {
        Box::pin(request_object(self, name, range, expected))
    }
}

/// Requests an object, or a range of it as long as it has the version `expected`. `None`: the object does not exist.
async fn request_object(
    bucket: &Bucket,
    name: &str,
    range: Option<Range>,
    expected: &Validator,
) -> Result<Option<ObjectBody>> {
    let attempt = bucket.attempt("get", name);
    let permit = bucket.permit(&attempt).await?;
    let status = StatusRecorder::default();
    let mut request = bucket.0.client.get_object().bucket(&bucket.0.name).key(name);
    if let Some(range) = range {
        request = request.range(range.header());
        // Not both: S3 ignores the weaker condition if the stronger one holds, other servers do not.
        request = match &expected.etag {
            Some(etag) => request.if_match(etag),
            None => request.set_if_unmodified_since(expected.modified),
        };
    }
    let send = Box::pin(request.customize().interceptor(status.clone()).interceptor(AnswerLimit::Errors).send());
    let Some(answer) = bucket.send_with_permit(&attempt, bucket.0.tuning.answer, send).await? else { return Ok(None) };
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let content = interpret(range, status.0.load(Ordering::Relaxed), answer.content_range(), length);
    let validator = Validator { etag: strong(answer.e_tag()), modified: answer.last_modified().copied() };
    let stall = bucket.0.tuning.stall;
    Ok(Some(ObjectBody { content, validator, stream: answer.body, attempt, stall, _permit: permit }))
}

/// Records the HTTP status of an answer, which the SDK does not expose.
#[derive(Clone, Debug, Default)]
struct StatusRecorder(Arc<AtomicU16>);

impl Intercept for StatusRecorder {
    fn name(&self) -> &'static str {
        "kache::StatusRecorder"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        self.0.store(context.response().status().as_u16(), Ordering::Relaxed);
        Ok(())
    }
}
