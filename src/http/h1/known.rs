//! Requests that came whole and have been judged: a few heads, and the fields of the last one. The next are often the same to
//! the byte, whoever sends them, and then so is what there is to be said of them.

use std::cell::RefCell;

use super::head::Head;
use super::heads::Heads;
use super::reader::Limits;

/// Longer ones are looked at each time.
const MAX_LENGTH: usize = 4 << 10;

/// What the verdict depends on beside the fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    pub(super) limits: Limits,
    /// Bytes of the head that came before them.
    pub(super) before: usize,
    /// What the request line says.
    pub(super) head: Head,
}

/// Per thread.
struct Known {
    fields: Vec<u8>,
    by: By,
}

thread_local! {
    /// Each with what it was judged by.
    static WHOLE: RefCell<Heads<Limits>> = const { RefCell::new(Heads::new()) };
    static LAST: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Whether these bytes are such a head, and nothing else.
pub(super) fn is_whole(bytes: &[u8], limits: Limits) -> bool {
    WHOLE.with_borrow_mut(|heads| heads.find(bytes).is_some_and(|by| *by == limits))
}

/// Keeps a head that has let its request pass, which was over with it; see [`keep`].
pub(super) fn keep_whole(bytes: &[u8], limits: Limits) {
    WHOLE.with_borrow_mut(|heads| heads.learn(bytes, || Some(limits)));
}

/// Whether these bytes are such fields, with all that came behind them, and nothing else.
pub(super) fn has(bytes: &[u8], by: By) -> bool {
    LAST.with_borrow(|last| {
        let Some(last) = last else { return false };
        // A longer request line may leave less room.
        last.fields == bytes
            && last.by.limits == by.limits
            && last.by.head == by.head
            && by.before + bytes.len() <= by.limits.bytes
    })
}

/// Keeps fields that have let their request pass, which was over with them: it asks for no other protocol, and its content,
/// if it has any, is behind them.
pub(super) fn keep(fields: &[u8], by: By) {
    if fields.len() > MAX_LENGTH {
        return;
    }
    LAST.with_borrow_mut(|last| match last {
        Some(last) => {
            last.fields.clear();
            last.fields.extend_from_slice(fields);
            last.by = by;
        }
        None => *last = Some(Known { fields: fields.to_vec(), by }),
    });
}
