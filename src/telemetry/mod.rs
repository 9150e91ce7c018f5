//! What happened: one finished-exchange event, from which log line, ring and metrics all come.

pub mod event;
