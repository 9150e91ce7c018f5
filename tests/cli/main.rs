//! The built binary: help texts, misuse, and what commands say when no instance runs.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes the texts anew.

#[test]
fn the_command_line_says_what_it_should() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
