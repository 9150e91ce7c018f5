//! Which statuses are counted one by one: those that are registered, so that an origin's fancy ones add no series.

/// Registered status codes (IANA) and those that proxies commonly meet.
const KNOWN: [u16; 64] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
    530,
];

/// Classes for what is not known: none at all, 1xx to 5xx, and beyond.
const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// The number of cells.
pub(super) const CELLS: usize = KNOWN.len() + CLASSES.len();

/// The cell that counts a status; 0 stands for "the client left before there was one".
pub(super) fn cell(status: u16) -> usize {
    KNOWN.binary_search(&status).unwrap_or_else(|_| KNOWN.len() + usize::from(status / 100).min(6))
}

/// The class of a cell: `2xx`, or `none`.
pub(super) fn class(cell: usize) -> &'static str {
    let class = KNOWN.get(cell).map_or(cell.wrapping_sub(KNOWN.len()), |status| usize::from(status / 100));
    CLASSES.get(class).copied().unwrap_or("other")
}

/// The label of a cell: the status, `other 4xx` or `none`.
pub(super) fn label(cell: usize) -> String {
    match KNOWN.get(cell) {
        Some(status) => status.to_string(),
        None if matches!(class(cell), "none" | "other") => class(cell).to_owned(),
        None => format!("other {}", class(cell)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_cell_with_its_class() {
        assert!(KNOWN.is_sorted());
        for (status, wanted) in [
            (0, ("none", "none")),
            (200, ("2xx", "200")),
            (299, ("2xx", "other 2xx")),
            (404, ("4xx", "404")),
            (599, ("5xx", "other 5xx")),
            (999, ("other", "other")),
            (u16::MAX, ("other", "other")),
        ] {
            let cell = cell(status);
            assert_eq!((class(cell), &*label(cell)), wanted, "{status}");
        }
    }
}
