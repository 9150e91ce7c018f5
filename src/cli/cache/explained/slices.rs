//! The section on slices: how many are stored, which bytes these are, and what requests take of them.

use super::Page;
use crate::admin::api::{StoredSlices, TakenSlices};
use crate::cli::output::human::{bytes, safe};

pub(super) fn section(page: &mut Page, slices: &StoredSlices) {
    page.section("Slices");
    let size = bytes(slices.size as f64);
    page.line(
        "size",
        &match (slices.count, slices.length) {
            (Some(count), Some(length)) => {
                format!("{size}, {count} of them make the whole of {length} bytes")
            }
            _ => format!("{size}; how many there are is not known before one is stored"),
        },
    );
    let mut stored = match (slices.stored, slices.length) {
        (0, _) => "nothing".to_owned(),
        (count, Some(length)) => format!("{count}: {} of {length} bytes", slices.stored_bytes),
        (count, None) => format!("{count}: {} bytes", slices.stored_bytes),
    };
    if slices.foreign > 0 {
        stored.push_str(&format!("; {} of another representation than the first", slices.foreign));
    }
    page.line("stored", &stored);
    for run in &slices.runs {
        page.line("", &format!("bytes {}-{} {}", run.first, run.last, safe(&run.state)));
    }
    if slices.more_runs > 0 {
        page.line("", &format!("and {} more runs of bytes", slices.more_runs));
    }
    if slices.unseen > 0 {
        page.line("not seen", &format!("{} more entries of the URL were not looked at", slices.unseen));
    }
    page.line("begins with", &format!("slice {}, key {}", slices.first, safe(&slices.first_key)));
    match &slices.request {
        Some(taken) => page.line("takes", &taken_text(taken)),
        None => page.line("takes", "what can't be known before the origin is asked"),
    }
    if let Some(taken) = &slices.without_range {
        page.line("no Range", &taken_text(taken));
    }
}

fn taken_text(taken: &TakenSlices) -> String {
    let what = match (taken.bytes.is_empty(), taken.bytes.len() > 1) {
        (true, _) => "no bytes".to_owned(),
        (false, true) => format!("{} ranges", taken.bytes.len()),
        (false, false) => runs(&taken.bytes),
    };
    let counts = [
        (taken.fresh, "from the store"),
        (taken.stale, "stale from the store"),
        (taken.validated, "validated"),
        (taken.fetched, "fetched"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| format!("{count} {how}"))
        .collect();
    let noun = if taken.slices == 1 { "slice" } else { "slices" };
    let mut text = format!("{what}: {} {noun}, {}", taken.slices, counts.join(", "));
    if !taken.fetches.is_empty() {
        text.push_str(&format!(" ({}", runs(&taken.fetches)));
        if taken.more_fetches > 0 {
            text.push_str(&format!(" and {} more runs", taken.more_fetches));
        }
        text.push(')');
    }
    if let Some(at) = taken.cut_at {
        text.push_str(&format!("; breaks off at byte {at}"));
    }
    text
}

/// `bytes 0-9, 20-29`.
fn runs(bytes: &[(u64, u64)]) -> String {
    let runs: Vec<String> = bytes.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    format!("bytes {}", runs.join(", "))
}
