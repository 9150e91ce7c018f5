//! Who somebody is, as far as it can be verified.
//!
//! What a credential says is believed only after its proof has held; what follows from it (whose replies are shared,
//! which routes may be asked) is decided by who asks this room. It does no I/O: keys are given to it as they were read, and the
//! time with each question.

pub mod jwt;
