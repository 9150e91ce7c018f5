//! Purging by requests: open to nobody, or to everyone.

use super::Checks;
use crate::config::codes::Code;

impl Checks<'_> {
    pub(super) fn purging(&mut self) {
        let purge = &self.file.purge;
        let nobody = purge.allow.is_empty() && purge.token.is_none();
        let damaged = ["allow", "token"].iter().any(|key| self.damaged(&["purge".into(), (*key).into()]));
        if nobody && !damaged && !self.damaged(&["purge".into()]) && self.written(&["purge".into()]) {
            let message = "`[purge]` lets nobody purge";
            let found = self.found(Code::PurgeByNobody, message, &["purge".into()]);
            found.help =
                Some("add `allow`, the networks that may, or `token`, a secret that they must know".into());
        }
        let open = purge.allow.iter().position(|network| network.0.prefix_len() == 0);
        if let (Some(index), None) = (open, &purge.token) {
            let message = "everyone may purge everything";
            let path = ["purge".into(), "allow".into(), index.into()];
            let found = self.found(Code::PurgeByEveryone, message, &path);
            found.help = Some("name the networks that purge, or add `token`".into());
        }
    }
}
