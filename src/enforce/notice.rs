//! Whoever is stopped is told by which ending, in the place of PostgreSQL's "canceling statement due to user
//! request" and "terminating connection due to administrator command".

use std::ffi::{CStr, c_char, c_int, c_void};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

use super::deadline;
use super::slots::{self, Signal};
use crate::check::ended;
use crate::errors::Refusal;

/// What the backend is to tell its user; C strings.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Notice {
    pub message: [u8; 256],
    pub detail: [u8; 512],
    pub hint: [u8; 1024],
}

impl Notice {
    pub fn of(refusal: Refusal) -> Self {
        let [message, detail, hint] = refusal.into_texts();
        Notice { message: c_string(&message), detail: c_string(&detail), hint: c_string(&hint) }
    }
}

/// As much of the text as there is room for, whole characters, and a NUL behind it.
fn c_string<const N: usize>(text: &str) -> [u8; N] {
    let mut buffer = [0; N];
    let fits = text
        .char_indices()
        .map(|(start, character)| start + character.len_utf8())
        .take_while(|end| *end < N)
        .last()
        .unwrap_or(0);
    for (to, from) in buffer.iter_mut().zip(text.bytes().take(fits)) {
        *to = if from == 0 { b' ' } else { from };
    }
    buffer
}

static mut PREVIOUS: pg_sys::emit_log_hook_type = None;

// Raw: elog.c's own, for error context callbacks. They only change the error at hand.
unsafe extern "C-unwind" {
    fn geterrcode() -> c_int;
    fn errmsg_internal(format: *const c_char, ...) -> c_int;
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn pstrdup(text: *const c_char) -> *mut c_char;
}

pub fn init() {
    // SAFETY: called on the process's only thread.
    unsafe {
        PREVIOUS = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit_log);
    }
}

/// Runs `body` so that a cancel that has been sent is explained. `body` may leave by longjmp: whoever catches it puts
/// error_context_stack back (PG_TRY(), PostgresMain()).
///
/// # Safety
/// `body` calls C functions as they are, and nothing whose errors pgrx would turn into an unwinding: that would leave
/// the frame on the stack.
#[inline(always)]
pub unsafe fn explained(body: impl FnOnce()) {
    // SAFETY: the frame is taken off the stack before it goes, see above.
    unsafe {
        let mut frame = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(explain),
            arg: std::ptr::null_mut(),
        };
        pg_sys::error_context_stack = &mut frame;
        body();
        pg_sys::error_context_stack = frame.previous;
    }
}

/// errfinish() (elog.c) calls this for each error that is raised inside.
unsafe extern "C-unwind" fn explain(_arg: *mut c_void) {
    // SAFETY: inside errfinish(), where all of these are allowed; the texts are C strings.
    unsafe {
        if geterrcode() != PgSqlErrorCode::ERRCODE_QUERY_CANCELED as c_int {
            return;
        }
        if let Some(notice) = cancelled_by() {
            let format = c"%s".as_ptr();
            errmsg_internal(format, notice.message.as_ptr().cast::<c_char>());
            errdetail_internal(format, notice.detail.as_ptr().cast::<c_char>());
            errhint(format, notice.hint.as_ptr().cast::<c_char>());
        }
    }
}

/// What to say of a cancel, if an ending was the reason: somebody has sent it, or the timer has gone off.
fn cancelled_by() -> Option<Notice> {
    match (slots::my_notice(), deadline::passed()) {
        (Some((Signal::Cancel, notice)), _) => Some(*notice),
        (None, Some(grant)) => Some(Notice::of(ended::time_is_up(grant))),
        _ => None,
    }
}

/// Not every error is raised where a context could explain it: a session that idles has no statement, and one that has
/// just got its next command may be cancelled before it has looked at it. What the client gets passes here first, unless
/// `log_min_messages` is above ERROR, or PANIC for a session that is ended; only a superuser can set that.
unsafe extern "C-unwind" fn emit_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: EmitErrorReport() (elog.c) passes the error that it is about to report, in whose memory context it is;
    // errfinish() frees the texts afterwards.
    unsafe {
        let raised = |level: u32, code: PgSqlErrorCode| {
            (*error).elevel == level as c_int && (*error).sqlerrcode == code as c_int
        };
        let told = if raised(pg_sys::FATAL, PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN) {
            slots::my_notice().filter(|(signal, _)| *signal == Signal::Terminate).map(|(_, notice)| *notice)
        } else if raised(pg_sys::PGERROR, PgSqlErrorCode::ERRCODE_QUERY_CANCELED) {
            cancelled_by()
        } else {
            None
        };
        if let Some(notice) = told {
            (*error).message = pstrdup(notice.message.as_ptr().cast());
            (*error).detail = pstrdup(notice.detail.as_ptr().cast());
            (*error).hint = pstrdup(notice.hint.as_ptr().cast());
        }
        if let Some(previous) = PREVIOUS {
            previous(error);
        }
    }
}

/// The three texts of a notice.
pub fn texts(notice: &Notice) -> [String; 3] {
    let text = |buffer: &[u8]| {
        CStr::from_bytes_until_nul(buffer).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    [text(&notice.message), text(&notice.detail), text(&notice.hint)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(buffer: &[u8]) -> &str {
        CStr::from_bytes_until_nul(buffer).ok().and_then(|text| text.to_str().ok()).unwrap_or("?")
    }

    #[test]
    fn what_is_told_ends_with_a_whole_character() {
        assert_eq!(text(&c_string::<8>("abc")), "abc");
        assert_eq!(text(&c_string::<8>("abcdefgh")), "abcdefg");
        assert_eq!(text(&c_string::<8>("abcdefé")), "abcdef");
        assert_eq!(text(&c_string::<8>("")), "");
        assert_eq!(text(&c_string::<8>("a\0b")), "a b");
    }
}
