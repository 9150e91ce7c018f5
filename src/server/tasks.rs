//! Where the tasks of hyper's HTTP/2 connections run: one for each stream, and one more for what a tunnel writes.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;

use hyper::rt::Executor;
use tokio::sync::oneshot;

/// Spawns them on the worker's runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tasks;

/// Ends what writes to a tunnel, without the end that it would say otherwise. hyper's own writer takes every end of ours for
/// an orderly one; dropped in the middle it leaves a stream that h2 resets with CANCEL, which is what an aborted
/// connection is in HTTP/2 (RFC 8441 5).
#[derive(Debug)]
pub(super) struct Cutter(oneshot::Sender<()>);

thread_local! {
    /// For the writer that hyper is about to spawn.
    static NEXT: Cell<Option<oneshot::Receiver<()>>> = const { Cell::new(None) };
}

impl Cutter {
    /// Of the tunnel whose reply is handed to hyper next: hyper spawns its writer as it takes that, on this thread.
    pub(super) fn of_next() -> Self {
        let (cutter, cut) = oneshot::channel();
        NEXT.set(Some(cut));
        Self(cutter)
    }

    /// Cuts. The tunnel must be dropped after.
    pub(super) fn cut(self) {
        // A writer that is done has left nothing to cut.
        let _ = self.0.send(());
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        match NEXT.take() {
            None => drop(tokio::spawn(task)),
            Some(cut) => drop(tokio::spawn(until_cut(task, cut))),
        }
    }
}

/// Goes on to its end if nobody can cut it any more.
async fn until_cut<F: Future>(task: F, cut: oneshot::Receiver<()>) {
    let mut task = pin!(task);
    let mut cut = pin!(cut);
    let mut may_be_cut = true;
    std::future::poll_fn(|cx| {
        if may_be_cut && let Poll::Ready(cut) = cut.as_mut().poll(cx) {
            may_be_cut = false;
            if cut.is_ok() {
                return Poll::Ready(());
            }
        }
        task.as_mut().poll(cx).map(drop)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_next_task_is_cut_and_only_by_its_cutter() {
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let waiting = |name: &'static str| {
            let said = said.clone();
            async move {
                let _held = said.clone();
                tokio::task::yield_now().await;
                std::future::pending::<()>().await;
                let _ = said.send(name);
            }
        };
        let ending = |name: &'static str| {
            let said = said.clone();
            async move { said.send(name).map_err(drop) }
        };
        let cutter = Cutter::of_next();
        Tasks.execute(waiting("cut"));
        Tasks.execute(ending("other"));
        drop(Cutter::of_next());
        Tasks.execute(ending("let go"));
        assert_eq!(heard.recv().await, Some("other"));
        assert_eq!(heard.recv().await, Some("let go"));
        cutter.cut();
        drop(said);
        assert_eq!(heard.recv().await, None, "what was cut holds nothing any more");
    }
}
