//! The program's own diagnostics, on standard error.

/// Starts the diagnostics. `verbosity` is the number of `-v`; the environment's `PROXY_STONE_LOG`, else
/// `RUST_LOG`, overrides it. A second call does nothing.
pub fn init(verbosity: u8) {
    let _ = verbosity;
}
