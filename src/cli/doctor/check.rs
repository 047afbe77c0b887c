//! The result of one check of `kache doctor`.

/// How serious the result of a check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    Ok,
    Warn,
    Fail,
}

/// The result of one check: a line of the output.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) severity: Severity,
    pub(super) what: &'static str,
    pub(super) text: String,
}

impl Check {
    pub(super) fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, what, text: text.into() }
    }

    pub(super) fn warn(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warn, what, text: text.into() }
    }

    pub(super) fn fail(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Fail, what, text: text.into() }
    }
}
