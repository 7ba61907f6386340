//! What a caller is told when something is refused: SQLSTATE, message, DETAIL and a HINT
//! with what helps. One constructor for each refusal that several places share.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// pgrx appends a Rust backtrace to the DETAIL of errors where the server's environment has
/// RUST_BACKTRACE; what a client reads is for people.
pub fn init() {
    // SAFETY: _PG_init runs on the only thread of the process.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}

/// An error that has not been raised yet, so that logic above SQL can be tested as a `Result`.
#[derive(Debug)]
pub struct Refusal {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

pub type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), detail: None, hint: None }
    }

    /// 42501: the caller is not entitled.
    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message)
    }

    /// 22023: a value that can be put right.
    pub fn bad_value(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    /// 55000: not in this state.
    pub fn wrong_state(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }

    /// 42704: no such scope, role or request.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message)
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[cfg(test)]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Message, DETAIL and HINT, for whoever tells somebody else.
    pub fn into_texts(self) -> [String; 3] {
        [self.message, self.detail.unwrap_or_default(), self.hint.unwrap_or_default()]
    }

    fn report(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.code, self.message, "jit_rls");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(level);
    }

    /// Ends the statement with this error.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("ereport(ERROR) does not return")
    }

    /// Shown to the client, who goes on.
    pub fn warn(self) {
        self.report(PgLogLevel::WARNING);
    }
}

/// The value of an outcome, or the error raised. For the functions that SQL calls.
pub fn settle<T>(outcome: Outcome<T>) -> T {
    outcome.unwrap_or_else(|refusal| refusal.raise())
}

/// Writes to the server log whatever the client's settings are: LOG is above every
/// `log_min_messages` but FATAL and PANIC, and only a superuser may set that.
pub fn log(message: impl Into<String>) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message.into(), "jit_rls")
        .report(PgLogLevel::LOG);
}

/// What somebody wrote, as it can stand in a message: in one line, and not megabytes of it.
pub fn shown(written: &str) -> String {
    shown_up_to(63, written)
}

/// The same, of at most so many characters.
pub fn shown_up_to(most: usize, written: &str) -> String {
    let clean = || written.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = clean().take(most).collect();
    if clean().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

pub fn null_argument(function: &str, argument: &str) -> Refusal {
    Refusal::bad_value(format!("{function}: {argument} must not be NULL"))
        .hint(format!("Name it, as in {function}({argument} => ...)."))
}

pub fn unknown_request(id: i64) -> Refusal {
    Refusal::unknown(format!("there is no request {id}")).hint(
        "SELECT id, scope, state FROM jit.my_requests lists your own, jit.pending those that wait for you.",
    )
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn input_in_messages_is_short_and_in_one_line() {
        assert_eq!(shown("support"), "support");
        assert_eq!(shown("a\nb"), "a\u{fffd}b");
        assert_eq!(shown(&"x".repeat(1_000_000)), "x".repeat(63) + "…");
    }
}
