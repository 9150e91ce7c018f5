//! What the laws of this room try: bytes that were changed in one place, and cut anywhere.

use proptest::sample::Index;

/// A place, a byte, and whether it replaces, comes before or goes.
pub(super) type Change = (Index, u8, u8);

/// With that change, if there is one.
pub(super) fn changed(mut bytes: Vec<u8>, change: Option<Change>) -> Vec<u8> {
    if let Some((at, byte, how)) = change {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// In pieces, some of which may be empty.
pub(super) fn cut(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}
