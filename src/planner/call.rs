//! A call of `jit_active` or `jit_keys` in a query.

use pgrx::pg_sys::{self, Node, NodeTag, Oid};

use super::nodes::{cast, members};
use crate::check::arguments::Text;
use crate::check::family::Family;

/// The type of a key in SQL, with what belongs to it.
#[derive(Clone, Copy)]
pub struct KeyType {
    pub oid: Oid,
    pub family: Family,
    /// The one equality that means what the check means by it, whatever operator class an index has.
    pub equal: Oid,
    pub length: i32,
    pub by_value: bool,
}

impl KeyType {
    fn of(oid: Oid) -> Option<Self> {
        let (family, equal, length, by_value) = match oid {
            pg_sys::INT2OID => (Family::Int, 94, 2, true),
            pg_sys::INT4OID => (Family::Int, pg_sys::Int4EqualOperator, 4, true),
            pg_sys::INT8OID => (Family::Int, 410, 8, true),
            pg_sys::UUIDOID => (Family::Uuid, 2972, 16, false),
            pg_sys::TEXTOID => (Family::Text, pg_sys::TextEqualOperator, -1, false),
            _ => return None,
        };
        Some(KeyType { oid, family, equal: Oid::from_u32(equal), length, by_value })
    }
}

/// What stands in the place of the key: a column, if anything can be said about it.
pub struct Key {
    pub node: *mut Node,
    pub kind: KeyType,
}

pub struct Call {
    /// None: which scope it is depends on more than the query.
    pub scope: Option<Vec<u8>>,
    /// The constant itself.
    pub scope_node: *mut Node,
    /// None: the whole scope.
    pub key: Option<Key>,
}

impl Call {
    /// Reads the arguments. None for what is no call of ours.
    ///
    /// # Safety
    /// `arguments` is the list of arguments of a function that has our support function.
    pub unsafe fn with_arguments(arguments: *mut pg_sys::List) -> Option<Self> {
        // SAFETY: the caller's promise; every argument is an expression.
        unsafe {
            let mut arguments = members::<Node>(arguments);
            let scope_node = arguments.next()?;
            let key = match arguments.next() {
                None => None,
                Some(node) => Some(Key { node, kind: KeyType::of(pg_sys::exprType(node))? }),
            };
            let scope = cast::<pg_sys::Const>(scope_node, NodeTag::T_Const)
                .filter(|scope| !scope.constisnull)
                .map(|scope| Text::new(scope.constvalue).bytes().to_vec());
            Some(Call { scope, scope_node, key })
        }
    }
}
