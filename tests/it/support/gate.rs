//! Where one side of a test waits for the other.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::within;

/// Each [`open`](Gate::open) lets one [`pass`](Gate::pass) through, now or later, on any thread.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one more through.
    pub fn open(&self) {
        self.open_for(1);
    }

    /// Lets so many more through.
    pub fn open_for(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Waits for its turn.
    pub async fn pass(&self) {
        within(self.0.acquire()).await.expect("a gate is never destroyed while it is waited at").forget();
    }
}
