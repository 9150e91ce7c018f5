//! The cache as its clients and its operator see it.

mod ranges;
mod reuse;
mod storing;
