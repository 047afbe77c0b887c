//! Objects that the proxy keeps in memory and serves again without the server.

use std::sync::Arc;

use super::http::Head;
use super::proxy::Exchange;

/// An answer to serve again.
pub(super) struct Kept {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Exchange<'_> {
    /// Whether the request is for a whole object.
    pub(super) fn is_object(&self) -> bool {
        let is_plain = !self.request.word(1).contains('?') || self.request.word(1).ends_with("?x-id=GetObject");
        self.request.word(0) == "GET" && self.request.header("range").is_none() && is_plain
    }

    /// Returns the answer, if the proxy keeps it.
    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        let state = self.proxy.shared.lock();
        state.kept.as_ref()?.get(self.request.word(1)).filter(|_| self.is_object()).cloned()
    }

    /// Keeps the answer, if it is an object and the proxy keeps objects.
    pub(super) fn keep(&self, head: &Head, body: &[u8]) {
        if self.is_object()
            && head.status() == 200
            && let Some(kept) = &mut self.proxy.shared.lock().kept
        {
            let answer = Kept { head: head.clone(), body: body.to_owned() };
            kept.insert(self.request.word(1).to_owned(), Arc::new(answer));
        }
    }
}
