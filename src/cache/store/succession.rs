//! The directory goes to another process, and comes back if that fails (an upgrade of the binary).

use std::time::Duration;

use tokio::sync::mpsc;

use super::Cache;
use super::queue::Op;
use super::report::{Closed, State};
use crate::cache::purge::heir::{self, Heir, Told};
use crate::cache::purge::{Criterion, PurgeError};

/// How long another process may take to let go of the directory.
const LET_GO: Duration = Duration::from_secs(300);

impl Cache {
    /// Closes the directory for another process, which is told of every purge from here on. RAM goes on answering and
    /// storing.
    pub async fn hand_over(&self) -> mpsc::Receiver<Told> {
        let (heir, told) = Heir::new();
        // First, so that no rule falls between the journal and the heir.
        self.shared.heir.store(Some(heir));
        self.close().await;
        told
    }

    /// Opens the directory again that was [handed over](Self::hand_over), and says how that ended. Purges that came
    /// meanwhile are in its journal then.
    pub async fn take_back(&self) -> State {
        if self.shared.dir.is_some() {
            let mut states = self.shared.state.subscribe();
            self.wake(Op::Open);
            let _ = states.wait_for(|state| *state != State::Closed(Closed::Stopped)).await;
        }
        let state = self.wait_open().await;
        self.shared.heir.store(None);
        state
    }

    /// As [`Cache::wait_open`], and for a directory that another process is about to let go of.
    pub async fn wait_held(&self) -> State {
        let mut states = self.shared.state.subscribe();
        let held = |state: &State| state.is_settled() && !matches!(state, State::Closed(Closed::Locked(_)));
        match tokio::time::timeout(LET_GO, states.wait_for(held)).await {
            Ok(Ok(state)) => state.clone(),
            _ => self.state(),
        }
    }

    /// Purges as the process before this one has told.
    pub async fn purge_as_told(&self, rule: &[u8]) -> Result<(), PurgeError> {
        // What it says that we do not understand may take anything.
        let (criterion, soft) = heir::understand(rule).unwrap_or((Criterion::All, false));
        self.purge(criterion, soft).await.map(drop)
    }
}
