//! Reading parse and plan trees.

use pgrx::pg_sys::{self, NodeTag};

/// The node as what it is, if it is that.
///
/// # Safety
/// `node` is NULL or a node, and `T` the struct of `tag`.
pub unsafe fn cast<'tree, T>(node: *mut pg_sys::Node, tag: NodeTag) -> Option<&'tree mut T> {
    // SAFETY: every node begins with its tag.
    unsafe { (node.as_ref()?.type_ == tag).then_some(())? };
    // SAFETY: the caller's promise.
    unsafe { node.cast::<T>().as_mut() }
}

/// The pointers in a list.
///
/// # Safety
/// `list` is NULL or a list of pointers to `T`, which stays as it is meanwhile.
pub unsafe fn members<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: a list has as many elements as it says.
    let cells = unsafe {
        list.as_ref().map_or(&[][..], |list| {
            std::slice::from_raw_parts(list.elements, usize::try_from(list.length).unwrap_or(0))
        })
    };
    // SAFETY: the caller's promise.
    cells.iter().map(|cell| unsafe { cell.ptr_value.cast() })
}
