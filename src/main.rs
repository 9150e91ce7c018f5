//! The binary: parse, run, exit.

use std::process::ExitCode;

/// Memory that a burst took goes back to the system some seconds after it, by a thread of the allocator's own; glibc's keeps
/// what lies between things that live on.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    proxy_stone::cli::main()
}
