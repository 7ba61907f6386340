//! Reads tables of schema `jit_private` as the system reads its catalogs: with `systable_beginscan()`,
//! no SPI, no privilege check, no plan. All the unsafe code of loading is here.
//!
//! A scan sees what has committed by now, not what had when the transaction began: with
//! `GetCatalogSnapshot()` (snapmgr.c), which takes a fresh one each time for a relation that
//! is no system catalog. That is right under REPEATABLE READ, on a standby, and in parallel
//! workers, where `GetLatestSnapshot()` raises.
//!
//! What is open when an error is raised is left alone on the way out: calling into PostgreSQL
//! from a destructor during that would be wrong, and the resource owner releases scans, buffers,
//! relations and snapshots when the (sub)transaction aborts.

use std::marker::PhantomData;
use std::ptr;

use pgrx::pg_sys::{self, AttrNumber, Datum, Oid};

use super::arguments::Text;

const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// What a column can hold, and how it is read.
pub trait ColumnType {
    const TYPE: Oid;
    type Value<'row>;

    /// # Safety
    /// `datum` is a value of the type and stays where it is for `'row`.
    unsafe fn read<'row>(datum: Datum) -> Self::Value<'row>;
}

macro_rules! column_types {
    ($($row:lifetime $name:ident, $oid:ident => $value:ty: |$datum:ident| $read:expr;)*) => { $(
        pub struct $name;
        impl ColumnType for $name {
            const TYPE: Oid = pg_sys::$oid;
            type Value<$row> = $value;
            unsafe fn read<$row>($datum: Datum) -> Self::Value<$row> {
                $read
            }
        }
    )* };
}

// SAFETY of those that follow a pointer: the caller's promise.
column_types! {
    'row Bool, BOOLOID => bool: |datum| datum.value() as u8 != 0;
    'row Int4, INT4OID => i32: |datum| datum.value() as i32;
    'row Int8, INT8OID => i64: |datum| datum.value() as i64;
    'row RoleId, OIDOID => Oid: |datum| Oid::from_u32(datum.value() as u32);
    'row Timestamp, TIMESTAMPTZOID => i64: |datum| datum.value() as i64;
    'row Uuid, UUIDOID => [u8; 16]: |datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() };
    'row Name, TEXTOID => Text<'row>: |datum| unsafe { Text::new(datum) };
    'row RoleIds, OIDARRAYOID => Option<Vec<Oid>>: |datum| unsafe { read_oids(datum) };
}

/// The members of an oid[]; None for what none of our functions has written.
///
/// # Safety
/// `datum` is an array.
unsafe fn read_oids(datum: Datum) -> Option<Vec<Oid>> {
    // SAFETY: after detoasting it has a 4-byte header and is aligned. Without NULLs the elements
    // follow the dimensions and lower bounds (ARR_DATA_PTR of array.h), two ints for each
    // dimension; with the header's four, 24 bytes, which is MAXALIGNed.
    unsafe {
        let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(stored).cast();
        let header = &*array;
        let oids = match (header.ndim, header.dataoffset, header.elemtype) {
            (0, 0, _) => Some(Vec::new()),
            (1, 0, pg_sys::OIDOID) => {
                let dimensions: *const i32 = array.add(1).cast();
                let elements: *const Oid = dimensions.add(2).cast();
                let count = usize::try_from(*dimensions).unwrap_or(0);
                Some(std::slice::from_raw_parts(elements, count).to_vec())
            }
            _ => None,
        };
        if array.cast() != stored {
            pg_sys::pfree(array.cast());
        }
        oids
    }
}

/// Where a column stands. The number belongs to one version of the table: see `layout`.
pub struct Column<T> {
    number: AttrNumber,
    kind: PhantomData<T>,
}

impl<T: ColumnType> Column<T> {
    /// None when the table has no such column, or one of another type.
    pub fn named(table: Oid, name: &std::ffi::CStr) -> Option<Self> {
        // SAFETY: both look up a syscache and give 0 for what is not there.
        unsafe {
            let number = pg_sys::get_attnum(table, name.as_ptr());
            (number > 0 && pg_sys::get_atttype(table, number) == T::TYPE)
                .then_some(Column { number, kind: PhantomData })
        }
    }
}

/// An index over one column, and the collation that it is sorted by.
pub struct Index<T> {
    pub oid: Oid,
    column: AttrNumber,
    collation: Oid,
    kind: PhantomData<T>,
}

impl<T> Index<T> {
    pub fn open(oid: Oid, column: &Column<T>) -> Option<Self> {
        // SAFETY: the relation is NULL or open until it is closed; an index has a collation
        // for each of its columns.
        unsafe {
            let relation = pg_sys::try_relation_open(oid, LOCK);
            let collations = relation.as_ref()?.rd_indcollation;
            let collation = collations.as_ref().copied();
            pg_sys::relation_close(relation, LOCK);
            Some(Index { oid, column: column.number, collation: collation?, kind: PhantomData })
        }
    }
}

/// A type that an index can be searched by, with its equality.
pub trait Searchable {
    const EQUAL: u32;
}
impl Searchable for Int4 {
    const EQUAL: u32 = pg_sys::F_INT4EQ;
}
impl Searchable for Int8 {
    const EQUAL: u32 = pg_sys::F_INT8EQ;
}
impl Searchable for RoleId {
    const EQUAL: u32 = pg_sys::F_OIDEQ;
}
impl Searchable for Name {
    const EQUAL: u32 = pg_sys::F_TEXTEQ;
}

/// What has committed at one moment, and what this transaction has done itself.
pub struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    pub fn take(table: &Table) -> Self {
        // SAFETY: the catalog snapshot is thrown away at the next invalidation; registering it
        // makes a copy that stays, and that holds back vacuum until it is unregistered.
        unsafe { Snapshot(pg_sys::RegisterSnapshot(pg_sys::GetCatalogSnapshot((*table.0).rd_id))) }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: registered by `take`.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

/// A table that is open, locked as a SELECT locks it.
pub struct Table(pg_sys::Relation);

impl Table {
    /// None when there is no such table any more.
    pub fn open(oid: Oid) -> Option<Self> {
        // SAFETY: an unknown OID gives NULL.
        let relation = unsafe { pg_sys::try_table_open(oid, LOCK) };
        (!relation.is_null()).then_some(Table(relation))
    }

    /// The rows whose indexed column is equal to `value`.
    ///
    /// # Safety
    /// `index` is of this table, `value` a datum of its column's type.
    unsafe fn find<T: Searchable>(&self, snapshot: &Snapshot, index: &Index<T>, value: Datum) -> Scan<'_> {
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: fills in the key. The index's own collation, where ScanKeyInit() would put C,
        // which is right for catalogs only.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                0,
                index.column,
                pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                Oid::INVALID,
                index.collation,
                Oid::from_u32(T::EQUAL),
                value,
            );
        }
        self.scan(snapshot, index.oid, 1, &mut key)
    }

    pub fn find_int4<'a>(&'a self, snapshot: &'a Snapshot, index: &Index<Int4>, value: i32) -> Scan<'a> {
        // SAFETY: the type says so.
        unsafe { self.find(snapshot, index, value.into()) }
    }

    pub fn find_int8<'a>(&'a self, snapshot: &'a Snapshot, index: &Index<Int8>, value: i64) -> Scan<'a> {
        // SAFETY: the type says so.
        unsafe { self.find(snapshot, index, value.into()) }
    }

    pub fn find_role<'a>(&'a self, snapshot: &'a Snapshot, index: &Index<RoleId>, value: Oid) -> Scan<'a> {
        // SAFETY: the type says so.
        unsafe { self.find(snapshot, index, value.into()) }
    }

    /// Calls `each` with the rows of that name; the key lives as long as the scan.
    pub fn first_named<R>(
        &self,
        snapshot: &Snapshot,
        index: &Index<Name>,
        name: &[u8],
        mut each: impl FnMut(&Row) -> Option<R>,
    ) -> Option<R> {
        let length = i32::try_from(name.len()).ok()?;
        // SAFETY: copies `length` bytes into a text of the current context.
        let text = unsafe { pg_sys::cstring_to_text_with_len(name.as_ptr().cast(), length) };
        // SAFETY: a text, freed after the scan.
        let found = unsafe {
            let mut scan = self.find(snapshot, index, Datum::from(text));
            let mut found = None;
            while let (None, Some(row)) = (&found, scan.next()) {
                found = each(&row);
            }
            found
        };
        // SAFETY: palloc'd above; the scan is closed.
        unsafe { pg_sys::pfree(text.cast()) };
        found
    }

    /// Every row.
    pub fn all<'a>(&'a self, snapshot: &'a Snapshot) -> Scan<'a> {
        self.scan(snapshot, Oid::INVALID, 0, ptr::null_mut())
    }

    fn scan(&self, snapshot: &Snapshot, index: Oid, keys: i32, key: pg_sys::ScanKey) -> Scan<'_> {
        // SAFETY: table and snapshot are open for as long as the scan (it borrows the table; the
        // callers' lifetimes hold the snapshot). The keys are copied. Under
        // ignore_system_indexes the index is not used, so that rows outside a partial index's
        // predicate come too: callers look at the predicate themselves.
        unsafe {
            let scan =
                pg_sys::systable_beginscan(self.0, index, index != Oid::INVALID, snapshot.0, keys, key);
            let descriptor = (*self.0).rd_att;
            let columns = usize::try_from((*descriptor).natts).unwrap_or(0);
            Scan {
                scan,
                descriptor,
                values: vec![Datum::null(); columns],
                nulls: vec![true; columns],
                table: PhantomData,
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: open; the lock goes with it, as for catalogs.
            unsafe { pg_sys::table_close(self.0, LOCK) };
        }
    }
}

pub struct Scan<'a> {
    scan: pg_sys::SysScanDesc,
    descriptor: pg_sys::TupleDesc,
    values: Vec<Datum>,
    nulls: Vec<bool>,
    table: PhantomData<&'a Table>,
}

impl Scan<'_> {
    /// The next row, which lasts until the one after it. Not an `Iterator` for that reason.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Row<'_>> {
        // SAFETY: the tuple is in a pinned buffer until the next call; the arrays have room for
        // as many values as the descriptor has columns.
        unsafe {
            let tuple = pg_sys::systable_getnext(self.scan).as_ref()?;
            pg_sys::heap_deform_tuple(
                ptr::from_ref(tuple).cast_mut(),
                self.descriptor,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
            Some(Row { header: tuple.t_data, values: &self.values, nulls: &self.nulls })
        }
    }
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: open, and ended once.
            unsafe { pg_sys::systable_endscan(self.scan) };
        }
    }
}

pub struct Row<'scan> {
    header: pg_sys::HeapTupleHeader,
    values: &'scan [Datum],
    nulls: &'scan [bool],
}

impl<'scan> Row<'scan> {
    /// None for NULL.
    pub fn get<T: ColumnType>(&self, column: &Column<T>) -> Option<T::Value<'scan>> {
        let at = usize::try_from(column.number - 1).ok()?;
        if *self.nulls.get(at)? {
            return None;
        }
        // SAFETY: `Column::named` checked the type, and the layout is of this version of the table.
        self.values.get(at).map(|datum| unsafe { T::read(*datum) })
    }

    /// Whether this version of the row was written by the running transaction, which may still
    /// roll back.
    pub fn is_our_own(&self) -> bool {
        // SAFETY: the header of a tuple in a pinned buffer. A frozen row keeps its old xmin, which
        // may have come round again since: the hint bits go first (HeapTupleHeaderGetXmin).
        unsafe {
            let frozen = pg_sys::HEAP_XMIN_FROZEN as u16;
            (*self.header).t_infomask & frozen != frozen
                && pg_sys::TransactionIdIsCurrentTransactionId((*self.header).t_choice.t_heap.t_xmin)
        }
    }
}
