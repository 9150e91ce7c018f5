//! Another process takes over: the binary was replaced, and nobody is to notice.
//!
//! The old process starts the new one with its own arguments and hands it the very sockets that it listens on, so that what
//! the kernel has queued on them is lost to nobody. Until the new one serves, the old one can go on as before; whatever goes
//! wrong, it does.
//!
//! ```text
//!  old                                           new
//!  greets, with every descriptor      ──▶       reads the config, takes the sockets, builds everything
//!                                     ◀──       "checked"
//!  closes the store, goes on from RAM ──▶       opens the store, with the journal of purges
//!                                     ◀──       "opened"
//!  serves nothing stored any more     ──▶       accepts, answers on the admin socket
//!                                     ◀──       "serving"
//!  stops accepting, drains, ends      ──▶       (purges that still come to the old one)
//! ```
//!
//! From the moment the store is closed each purge of the old process is told to the new one, and answered when it is in
//! the journal there: whoever serves something stored knows of it.

mod handing;
mod systemd;
mod taking;
mod wire;

pub(super) use handing::{Order, hand_over};
pub(super) use systemd::notify;
pub(super) use taking::{Predecessor, Succession, find};

/// Names, to the process that is started to take over, the one that hands over.
const HANDOVER: &str = "PROXY_STONE_HANDOVER";

/// How long all of it may take, unless somebody says otherwise.
pub(super) const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
