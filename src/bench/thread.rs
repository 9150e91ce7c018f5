//! A thread of the generator: its runtime, its connections, its share of the work, its tally.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::connect::{Connector, Link};
use super::failure::{Failure, Trouble};
use super::http2::Http2;
use super::pacer::{Pacer, Ticket};
use super::run::{Phase, Said};
use super::schedule::{self, Schedule};
use super::tally::{Gauge, Reply, Tally};
use super::window::Window;
use super::worker::{Line, Worker, wrong_version};
use super::{Pace, Plan, Until};

/// Connections that one thread opens at a time before the load: more would run over the target's queue.
const OPENING: usize = 32;

/// How long those under way are waited for after an interruption.
const AFTER_INTERRUPTION: Duration = Duration::from_secs(1);

/// What a thread is given.
pub(super) struct Share {
    pub(super) number: usize,
    pub(super) plan: Arc<Plan>,
    pub(super) connector: Connector,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) said: mpsc::UnboundedSender<Said>,
    pub(super) gauge: Arc<Gauge>,
}

/// What the workers of a thread share.
pub(super) struct Thread {
    pub(super) plan: Arc<Plan>,
    connector: Connector,
    window: Window,
    pacer: Option<Pacer>,
    /// Requests left to be made, where they are counted in a closed loop.
    budget: Option<Cell<u64>>,
    tally: Rc<RefCell<Tally>>,
    gauge: Arc<Gauge>,
    /// Which URL is next.
    url: Cell<usize>,
    /// By worker: since when a measured request is under way.
    under_way: RefCell<Vec<Option<Instant>>>,
}

/// A request to be made.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    measured: bool,
    /// In an open loop.
    due: Option<(Instant, Ticket)>,
    /// Since somebody has set about it; once it has left, since then.
    sent: Option<Instant>,
}

impl Turn {
    /// Where latency begins.
    fn counts_from(&self, sent: Instant) -> Instant {
        self.due.map_or(sent, |(due, _)| due)
    }
}

/// A connection that several workers use.
#[derive(Default)]
pub(super) struct Lane {
    link: RefCell<Option<Http2>>,
    opening: tokio::sync::Mutex<()>,
}

impl Lane {
    /// A connection that a request can be sent on; one worker opens it, the others wait for that.
    pub(super) async fn link(&self, thread: &Thread) -> Result<Http2, Trouble> {
        let _alone = self.opening.lock().await;
        let link = self.link.borrow().clone();
        if let Some(mut link) = link
            && link.is_ready().await
        {
            return Ok(link);
        }
        match thread.open().await? {
            Link::Http2(link) => {
                *self.link.borrow_mut() = Some(link.clone());
                Ok(link)
            }
            Link::Http1(_) => Err(wrong_version()),
        }
    }
}

/// Does a share of the work, on a thread of its own.
pub(super) fn run(share: Share) {
    let said = share.said.clone();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = said.send(Said::Broken(error));
            return;
        }
    };
    let done = LocalSet::new().block_on(&runtime, work(share));
    // Nobody hears it if everything was abandoned.
    let _ = said.send(match done {
        Ok(tally) => Said::Done(Box::new(tally)),
        Err(error) => Said::Broken(error),
    });
}

async fn work(mut share: Share) -> std::io::Result<Tally> {
    let tally = Rc::new(RefCell::new(Tally::new()));
    let lines = {
        let mut phases = share.phases.clone();
        tokio::select! {
            lines = connect(&share, &tally) => lines,
            _ = phases.wait_for(Phase::is_ending) => return Ok(Tally::new()),
        }
    };
    let _ = share.said.send(Said::Ready);
    let start = match share.phases.wait_for(|phase| *phase != Phase::Connecting).await.map(|phase| *phase) {
        Ok(Phase::Running(start)) => start,
        _ => return Ok(Tally::new()),
    };
    let (began, busy) = (Instant::now(), busy());
    let thread = Rc::new(Thread::new(&share, start, lines.len(), tally.clone())?);
    let mut workers = JoinSet::new();
    for (number, line) in lines.into_iter().enumerate() {
        workers.spawn_local(Worker { number, thread: thread.clone(), line }.run());
    }
    let pacing = tokio::task::spawn_local({
        let thread = thread.clone();
        async move {
            if let Some(pacer) = &thread.pacer {
                pacer.run(&thread.window).await;
            }
        }
    });
    tokio::select! {
        () = async { while workers.join_next().await.is_some() {} } => {}
        () = thread.patience(&mut share.phases) => {}
    }
    pacing.abort();
    workers.abort_all();
    thread.close_the_books();
    let mut tally = tally.borrow_mut();
    let elapsed = began.elapsed().as_secs_f64();
    if elapsed > 0.0 {
        tally.busy = ((self::busy() - busy).as_secs_f64() / elapsed).min(1.0);
    }
    Ok(std::mem::replace(&mut *tally, Tally::new()))
}

/// How long this thread's runtime has had something to do.
fn busy() -> Duration {
    tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0)
}

/// Opens this thread's connections before the load begins. Those that fail are tried again at their first turn.
async fn connect(share: &Share, tally: &Rc<RefCell<Tally>>) -> Vec<Line> {
    let own = portion(share.plan.connections, share.number, share.plan.threads);
    let links: Vec<Option<Link>> = stream::iter(0..own)
        .map(|_| async {
            let began = Instant::now();
            let link = share.connector.open().await.ok();
            if link.is_some() {
                tally.borrow_mut().connecting.record(began.elapsed());
            }
            link
        })
        .buffer_unordered(OPENING)
        .collect()
        .await;
    let mut tally = tally.borrow_mut();
    tally.opened_first = links.iter().flatten().count();
    let mut lines = Vec::new();
    for link in links {
        match link {
            Some(Link::Http1(link)) => lines.push(Line::Own(Some(link))),
            None if !share.plan.target.http2 => lines.push(Line::Own(None)),
            link => {
                let lane = Lane::default();
                if let Some(Link::Http2(link)) = link {
                    let allowed = link.streams();
                    tally.streams_allowed = Some(tally.streams_allowed.map_or(allowed, |n| n.min(allowed)));
                    *lane.link.borrow_mut() = Some(link);
                }
                let lane = Rc::new(lane);
                lines.extend((0..share.plan.streams).map(|_| Line::Shared(lane.clone(), None)));
            }
        }
    }
    lines
}

/// The part of a whole that falls to one of several.
fn portion(whole: usize, number: usize, of: usize) -> usize {
    whole / of + usize::from(number < whole % of)
}

impl Thread {
    fn new(
        share: &Share,
        start: Instant,
        workers: usize,
        tally: Rc<RefCell<Tally>>,
    ) -> std::io::Result<Self> {
        let plan = share.plan.clone();
        let part = (share.number, plan.threads);
        let pacer = match (plan.pace, plan.until) {
            (Pace::Closed, _) => None,
            (Pace::Open(rate), Until::Elapsed(length)) => {
                Some(Schedule::lasting(rate, part, plan.warmup, length))
            }
            (Pace::Open(rate), Until::Requests(requests)) => {
                Some(Schedule::counting(rate, part, plan.warmup, requests))
            }
        };
        let pacer = pacer.map(|schedule| Pacer::new(schedule, workers)).transpose()?;
        let budget = match (plan.pace, plan.until) {
            (Pace::Closed, Until::Requests(requests)) => {
                let (threads, number) = (plan.threads as u64, share.number as u64);
                Some(Cell::new(requests / threads + u64::from(number < requests % threads)))
            }
            _ => None,
        };
        Ok(Self {
            connector: share.connector.clone(),
            window: Window::new(&plan, start),
            pacer,
            budget,
            tally,
            gauge: share.gauge.clone(),
            url: Cell::new(share.number),
            under_way: RefCell::new(vec![None; workers]),
            plan,
        })
    }

    /// Waits for the next request that is to be made; `None` when there is none left.
    pub(super) async fn turn(&self, worker: usize) -> Option<Turn> {
        if let Some(pacer) = &self.pacer {
            let ticket = pacer.turn(worker, &self.window).await?;
            let due = self.window.start + ticket.due.at;
            return Some(Turn { measured: ticket.due.measured, due: Some((due, ticket)), sent: None });
        }
        let now = Instant::now();
        if self.window.is_over(now) {
            return None;
        }
        let measured = now >= self.window.measured;
        if measured && let Some(budget) = &self.budget {
            budget.set(budget.get().checked_sub(1)?);
        }
        Some(Turn { measured, due: None, sent: None })
    }

    /// The number of the next URL: the threads take them in turn.
    pub(super) fn next_url(&self) -> usize {
        let url = self.url.get();
        self.url.set((url + self.plan.threads) % (self.plan.target.urls() * self.plan.threads));
        url
    }

    /// Opens a connection in place of one that is gone.
    pub(super) async fn open(&self) -> Result<Link, Trouble> {
        let began = Instant::now();
        let link = self.connector.open().await?;
        self.tally.borrow_mut().connecting.record(began.elapsed());
        Ok(link)
    }

    /// Somebody sets about a request, whose end may never be seen. It may need a connection first.
    pub(super) fn begin(&self, worker: usize, turn: &mut Turn, now: Instant) {
        turn.sent = Some(now);
        if !turn.measured {
            return;
        }
        self.under_way.borrow_mut()[worker] = Some(turn.counts_from(now));
        if let Some((due, ticket)) = turn.due
            && ticket.awaited
        {
            self.tally.borrow_mut().lag.record(now.saturating_duration_since(due));
        }
    }

    /// A request leaves.
    pub(super) fn sent(&self, worker: usize, turn: &mut Turn, sent: Instant) {
        turn.sent = Some(sent);
        if turn.measured {
            self.tally.borrow_mut().last_sent = Some(sent);
            self.under_way.borrow_mut()[worker] = Some(turn.counts_from(sent));
        }
    }

    fn latency(&self, turn: &Turn, ended: Instant) -> Duration {
        let since = |at: Instant| self.window.since_start(at);
        let due = turn.due.map(|(due, _)| since(due));
        schedule::latency(due, since(turn.sent.unwrap_or(ended)), since(ended))
    }

    /// A reply has come to its end.
    pub(super) fn replied(&self, worker: usize, turn: &Turn, reply: &Reply) {
        Gauge::bump(&self.gauge.replies);
        self.under_way.borrow_mut()[worker] = None;
        if turn.measured {
            let ended = Instant::now();
            let in_time = self.window.end().is_none_or(|end| ended <= end);
            let mut tally = self.tally.borrow_mut();
            tally.reply(reply, self.latency(turn, ended), in_time);
            tally.last_ended = Some(ended);
        }
    }

    /// There won't be a whole reply.
    pub(super) fn failed(&self, worker: usize, turn: &Turn, trouble: Trouble) {
        Gauge::bump(&self.gauge.failures);
        self.under_way.borrow_mut()[worker] = None;
        if turn.measured {
            let ended = Instant::now();
            let mut tally = self.tally.borrow_mut();
            tally.failed(trouble, self.latency(turn, ended), 1);
            tally.last_ended = Some(ended);
        }
    }

    /// Ends when nothing is to be waited for any longer: well after the end, or soon after an interruption.
    async fn patience(&self, phases: &mut watch::Receiver<Phase>) {
        // What is under way has its own time-outs, of connecting and of the reply.
        let far = self.window.end().map(|end| end + 2 * self.plan.timeout + AFTER_INTERRUPTION);
        let late = async {
            match far {
                Some(far) => tokio::time::sleep_until(far.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = late => return,
            _ = phases.wait_for(Phase::is_ending) => {}
        }
        self.window.cut(Instant::now());
        if let Some(pacer) = &self.pacer {
            pacer.close();
        }
        tokio::select! {
            () = tokio::time::sleep(AFTER_INTERRUPTION) => {}
            _ = phases.wait_for(|phase| matches!(phase, Phase::Abandoned(_))) => {}
        }
    }

    /// Counts what is under way, and what was due and never sent.
    fn close_the_books(&self) {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        for from in self.under_way.borrow().iter().flatten() {
            let waited = now.saturating_duration_since(*from);
            tally.failed((Failure::Unfinished, "still under way".to_owned()), waited, 1);
        }
        if let (Some(pacer), Some(end)) = (&self.pacer, self.window.end()) {
            for (waited, count) in pacer.give_up(self.window.since_start(end)) {
                let busy = "all connections were busy until the end".to_owned();
                tally.failed((Failure::Unsent, busy), waited, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_make_the_whole() {
        for (whole, of) in [(10, 3), (1, 1), (7, 7), (100, 8)] {
            let parts: Vec<usize> = (0..of).map(|number| portion(whole, number, of)).collect();
            assert_eq!(parts.iter().sum::<usize>(), whole);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }
}
