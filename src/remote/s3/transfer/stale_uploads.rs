//! Uploads in parts that nobody finished, of any machine: servers keep their parts, and charge for them.

use std::time::{Duration, SystemTime};

use super::super::answer_limit::AnswerLimit;
use super::super::bucket::{Bucket, system_time};
use super::super::error::{RemoteError, Result, absent_error};
use super::multipart::abort;

/// Most pages of the listing of uploads.
const MAX_PAGES: usize = 1000;

/// Aborts the uploads below `prefix` that were begun longer than `age` ago. Returns their number; 0 if the server
/// cannot list uploads.
pub async fn abort_uploads_older_than(bucket: &Bucket, prefix: &str, age: Duration) -> Result<u64> {
    let attempt = bucket.attempt("list the uploads of", prefix);
    let (mut aborted, mut after) = (0, (None, None));
    for _ in 0..MAX_PAGES {
        let request = bucket.0.client.list_multipart_uploads().bucket(&bucket.0.name).prefix(prefix);
        let request = request.set_key_marker(after.0.clone()).set_upload_id_marker(after.1.clone());
        let sent = Box::pin(request.customize().interceptor(AnswerLimit::All).send());
        let page = match bucket.request(&attempt, bucket.timeout(0), sent).await {
            Err(RemoteError::Status { status: 501 | 405, .. }) => return Ok(aborted),
            page => page?.ok_or_else(|| absent_error(&attempt))?,
        };
        for upload in page.uploads() {
            let begun = upload.initiated().and_then(system_time);
            let is_old = begun.is_some_and(|begun| SystemTime::now().duration_since(begun).is_ok_and(|is| is > age));
            if let (true, Some(name), Some(id)) = (is_old, upload.key(), upload.upload_id())
                && name.starts_with(prefix)
            {
                abort(bucket, name, id).await?;
                aborted += 1;
            }
        }
        let next = (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
        if !page.is_truncated().unwrap_or(false) || next == after || next.0.is_none() {
            break;
        }
        after = next;
    }
    Ok(aborted)
}
