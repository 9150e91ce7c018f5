//! Being sure of what an inspection found, and putting it right: only here does nothing change meanwhile.

use std::sync::atomic::Ordering::Relaxed;

use super::Writer;
use crate::cache::store::engine::{Fault, FaultKind, StoreError};
use crate::cache::store::inspection::{Examine, Found};
use crate::cache::store::shared::Tier;

impl Writer {
    pub(super) fn examine(&self, tier: &Tier, examine: &Examine) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for fault in &examine.faults {
            if !tier.store.is_fault(examine.now, fault)? {
                continue;
            }
            let url = url(tier, fault)?;
            let mut freed = 0;
            if examine.mend {
                freed = tier.store.mend(fault)?;
                if let Some(id) = fault.id.filter(|_| fault.kind.loses_entry()) {
                    self.shared.forget(id);
                }
                if fault.kind == FaultKind::Expired {
                    self.shared.counters.expired.fetch_add(1, Relaxed);
                }
            }
            let mended = examine.mend && !tier.store.is_fault(examine.now, fault)?;
            let (kind, id, body) = (fault.kind, fault.id, fault.body);
            found.push((Found { kind, id, url, body, mended }, freed));
        }
        // Nobody waits for it any more: so be it.
        let _ = examine.reply.send(found);
        Ok(())
    }

    /// Forgets the rules whose removal is finished; says how many they are. None while entries come back from a
    /// database that was set aside: those have to be tested against all.
    pub(super) fn forget_retired(&mut self, dry_run: bool) -> u64 {
        let retired = self.shared.rules.retired();
        let Some(newest) = retired.iter().max().copied().filter(|_| !self.upkeep.is_salvaging()) else {
            return 0;
        };
        if !dry_run {
            self.sweep_memory(true);
            self.shared.rules.forget_all(newest);
            if let Some(journal) = self.shared.journal.load_full()
                && let Err(error) = journal.compact(|| self.journal_contents())
            {
                tracing::warn!(%error, "store: the journal of purges could not be written anew");
            }
        }
        retired.len() as u64
    }
}

fn url(tier: &Tier, fault: &Fault) -> Result<Option<String>, StoreError> {
    let Some(id) = fault.id.filter(|_| fault.kind != FaultKind::Record) else { return Ok(None) };
    Ok(super::standing(tier, id)?.map(|entry| entry.key.url()))
}
