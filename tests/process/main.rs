//! The built binary as a process: start and refusal to start, signals, commands against the running instance,
//! `kill -9`, a damaged or full disk, memory.
//!
//! Each test has its own directory for state and socket, and ports that the system chose. By hand:
//! `PROXY_STONE_KILL_ROUNDS=1000` for more rounds of `kill -9`, `PROXY_STONE_BIG=1` for bodies of 1 GiB; `million` says what
//! purging costs.

mod benching;
mod certificates;
mod commands;
mod completing;
mod damage;
mod descriptors;
mod draining;
mod explaining;
mod filling;
mod giving_way;
mod handover;
mod kill;
mod limiting;
mod machines;
mod memory;
mod million;
mod passwords;
mod purging;
mod refusal;
mod reloading;
mod resting;
mod simulating;
mod start;
mod stopping;
mod support;
mod upgrading;
mod verifying;
mod warming;
