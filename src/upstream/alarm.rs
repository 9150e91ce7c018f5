//! One timer for all waits of an exchange: armed when something first has to wait, moved rather than made anew.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// A timer whose due time may move with every poll. Moving it later costs nothing: the old timer rings, is
/// found too early, and only then is set again.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Whether anything has waited for it yet.
    pub(crate) fn is_set(&self) -> bool {
        self.sleep.is_some()
    }

    /// Ready once `due` has passed; else the task is woken then, at the latest.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let due = tokio::time::Instant::from_std(due);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due || tokio::time::Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rings_when_due_however_it_was_moved() {
        let start = tokio::time::Instant::now();
        let mut alarm = Alarm::default();
        let far = (start + Duration::from_secs(60)).into_std();
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, far))).await.is_pending());
        let near = (start + Duration::from_secs(5)).into_std();
        poll_fn(|cx| alarm.poll(cx, near)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        let later = (start + Duration::from_secs(9)).into_std();
        poll_fn(|cx| alarm.poll(cx, later)).await;
        assert_eq!(start.elapsed().as_secs(), 9);
    }
}
