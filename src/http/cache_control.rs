//! cache_control
