//! Who somebody is, as far as it can be verified.
//!
//! What a credential says is believed only after its proof has held; what follows from it (whose replies are shared,
//! which routes may be asked) is decided by who asks this room. It does no I/O: keys are given to it as they were read, and the
//! time with each question.

pub mod basic;
pub mod jwt;

/// Random bytes. Where the system has none, what is shared with nobody is still not guessed from outside.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    if getrandom::fill(&mut bytes).is_err() {
        bytes.fill_with(|| fastrand::u8(..));
    }
    bytes
}
