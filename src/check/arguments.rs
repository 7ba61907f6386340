//! Arguments of the functions that SQL calls directly, without copies.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, NodeTag};
use pgrx::varlena;

use crate::errors::Refusal;

/// Exports functions under the names that sql/functions.sql uses. By hand rather than with
/// `#[pg_extern]`: the SQL is hand-written too.
macro_rules! sql_functions {
    ($($symbol:ident, $info:ident => $body:path;)*) => { $(
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: ::pgrx::pg_sys::FunctionCallInfo,
        ) -> ::pgrx::pg_sys::Datum {
            // SAFETY: fmgr calls this with the arguments that the declaration names.
            unsafe { $body(fcinfo) }
        }
        $crate::check::arguments::function_info!($info);
    )* };
}
pub(crate) use sql_functions;

/// The same for functions that guard what needs it themselves.
macro_rules! unguarded_sql_functions {
    ($($symbol:ident, $info:ident => $body:path;)*) => { $(
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: ::pgrx::pg_sys::FunctionCallInfo,
        ) -> ::pgrx::pg_sys::Datum {
            // SAFETY: fmgr calls this with the arguments that the declaration names.
            unsafe { $body(fcinfo) }
        }
        $crate::check::arguments::function_info!($info);
    )* };
}
pub(crate) use unguarded_sql_functions;

/// PG_FUNCTION_INFO_V1 of fmgr.h.
macro_rules! function_info {
    ($info:ident) => {
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub extern "C-unwind" fn $info() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
            &::pgrx::pg_sys::Pg_finfo_record { api_version: 1 }
        }
    };
}
pub(crate) use function_info;

/// Argument `number`, None when NULL or not there.
///
/// # Safety
/// `fcinfo` comes from fmgr.
#[inline]
pub unsafe fn argument(fcinfo: FunctionCallInfo, number: usize) -> Option<Datum> {
    // SAFETY: args has nargs members.
    unsafe {
        if number >= usize::try_from((*fcinfo).nargs).ok()? {
            return None;
        }
        let argument = &*(*fcinfo).args.as_ptr().add(number);
        (!argument.isnull).then_some(argument.value)
    }
}

/// The bytes of a text, where they are; only what was compressed or stored out of line is copied.
/// Bytes, since the database's encoding may be another than UTF-8.
pub struct Text<'datum> {
    start: *const pg_sys::varlena,
    copied: bool,
    datum: PhantomData<&'datum [u8]>,
}

impl Text<'_> {
    /// # Safety
    /// `datum` is a text, and stays where it is as long as the result is used.
    #[inline]
    pub unsafe fn new(datum: Datum) -> Self {
        let start: *mut pg_sys::varlena = datum.cast_mut_ptr();
        // SAFETY: a varlena says itself how it is stored. The copy is in the current context.
        unsafe {
            if varlena::varatt_is_1b_e(start) || varlena::varatt_is_4b_c(start) {
                let start = pg_sys::pg_detoast_datum_packed(start);
                return Text { start, copied: true, datum: PhantomData };
            }
        }
        Text { start, copied: false, datum: PhantomData }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `new` made sure that it is neither compressed nor out of line.
        unsafe { bytes(self.start) }
    }

    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// The bytes, without calling PostgreSQL. None: they must be copied first.
    ///
    /// # Safety
    /// As [`Text::new`].
    #[inline(always)]
    pub unsafe fn in_place<'datum>(datum: Datum) -> Option<&'datum [u8]> {
        let start: *mut pg_sys::varlena = datum.cast_mut_ptr();
        // SAFETY: the caller's promise.
        unsafe {
            let elsewhere = varlena::varatt_is_1b_e(start) || varlena::varatt_is_4b_c(start);
            (!elsewhere).then(|| bytes(start))
        }
    }
}

/// # Safety
/// A varlena that is neither compressed nor out of line, and stays as long as the result is used.
#[inline]
unsafe fn bytes<'datum>(start: *const pg_sys::varlena) -> &'datum [u8] {
    // SAFETY: the caller's promise; the header says how long it is.
    unsafe {
        let length = varlena::varsize_any_exhdr(start);
        std::slice::from_raw_parts(varlena::vardata_any(start).cast(), length)
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        // When an error is unwinding, the abort frees the context instead.
        if self.copied && !std::thread::panicking() {
            // SAFETY: palloc'd by pg_detoast_datum_packed(), and nobody else's.
            unsafe { pg_sys::pfree(self.start.cast_mut().cast()) };
        }
    }
}

/// What the trigger manager passes, or None for a call by anybody else.
///
/// # Safety
/// `fcinfo` comes from fmgr; the result is good for the call.
pub unsafe fn trigger_data<'call>(fcinfo: FunctionCallInfo) -> Option<&'call pg_sys::TriggerData> {
    // SAFETY: context is NULL or a node (CALLED_AS_TRIGGER of trigger.h).
    unsafe {
        let context = (*fcinfo).context.as_ref()?;
        (context.type_ == NodeTag::T_TriggerData).then(|| &*(*fcinfo).context.cast())
    }
}

pub fn not_a_trigger(function: &str) -> ! {
    Refusal::new(
        PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        format!("{function}() was not called as a trigger"),
    )
    .hint("It belongs to the triggers that CREATE EXTENSION jit_rls made.")
    .raise()
}

/// The schema and name of a relation.
///
/// # Safety
/// `relation` is open.
pub unsafe fn relation_name(relation: pg_sys::Relation) -> String {
    // SAFETY: a relcache entry has its pg_class row, whose name ends with a NUL.
    unsafe {
        let class = &*(*relation).rd_rel;
        format!("jit_private.{}", CStr::from_ptr(class.relname.data.as_ptr()).to_string_lossy())
    }
}
