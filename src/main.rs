//! The binary: parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    proxy_stone::cli::main()
}
