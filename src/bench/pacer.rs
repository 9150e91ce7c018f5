//! Hands out what is due, in an open loop, to connections that are free: one queue for all of a thread, so that a request
//! waits only while every connection is busy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;

use super::alarm::Alarm;
use super::schedule::{Due, Schedule};
use super::window::Window;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) due: Due,
    /// Whether a connection had been free: then it is the generator's fault if it leaves late.
    pub(super) awaited: bool,
}

/// The schedule, and who waits for what is on it.
pub(super) struct Pacer {
    schedule: RefCell<Schedule>,
    seats: RefCell<Seats>,
    alarm: Alarm,
    /// Somebody waits again.
    waiting: Notify,
    over: Cell<bool>,
}

struct Seats {
    idle: VecDeque<usize>,
    seats: Vec<Seat>,
}

#[derive(Default)]
struct Seat {
    handed: Option<Ticket>,
    waker: Option<Waker>,
}

impl Pacer {
    /// For so many workers.
    pub(super) fn new(schedule: Schedule, workers: usize) -> std::io::Result<Self> {
        let mut seats = Vec::new();
        seats.resize_with(workers, Seat::default);
        Ok(Self {
            schedule: RefCell::new(schedule),
            seats: RefCell::new(Seats { idle: VecDeque::new(), seats }),
            alarm: Alarm::new()?,
            waiting: Notify::new(),
            over: Cell::new(false),
        })
    }

    /// Waits for a request of one's own; `None` when there won't be another.
    pub(super) async fn turn(&self, worker: usize, window: &Window) -> Option<Ticket> {
        std::future::poll_fn(|cx| {
            let mut seats = self.seats.borrow_mut();
            let Seats { idle, seats } = &mut *seats;
            let seat = &mut seats[worker];
            if let Some(ticket) = seat.handed.take() {
                seat.waker = None;
                return Poll::Ready(Some(ticket));
            }
            let now = Instant::now();
            if self.over.get() || window.is_over(now) {
                return Poll::Ready(None);
            }
            if seat.waker.is_none() {
                // It is late already: nobody was free for it.
                if idle.is_empty()
                    && let Some(due) = self.schedule.borrow_mut().take(window.since_start(now))
                {
                    return Poll::Ready(Some(Ticket { due, awaited: false }));
                }
                idle.push_back(worker);
                self.waiting.notify_one();
            }
            seat.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Hands out until all is handed out.
    pub(super) async fn run(&self, window: &Window) {
        loop {
            self.hand_out(window.since_start(Instant::now()));
            let Some(due) = self.schedule.borrow().peek() else { return self.close() };
            if self.seats.borrow().idle.is_empty() {
                self.waiting.notified().await;
            } else if self.alarm.until(window.start + due.at).await.is_err() {
                // The runtime's own timers are always there.
                tokio::time::sleep_until((window.start + due.at).into()).await;
            }
        }
    }

    fn hand_out(&self, now: std::time::Duration) {
        let mut seats = self.seats.borrow_mut();
        let mut schedule = self.schedule.borrow_mut();
        let Seats { idle, seats } = &mut *seats;
        while !idle.is_empty()
            && let Some(due) = schedule.take(now)
        {
            let Some(worker) = idle.pop_front() else { return };
            seats[worker].handed = Some(Ticket { due, awaited: true });
            if let Some(waker) = &seats[worker].waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Sends everybody home who waits.
    pub(super) fn close(&self) {
        self.over.set(true);
        for seat in &self.seats.borrow().seats {
            if let Some(waker) = &seat.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// What was due before `end` and has not been taken: how long it has waited, and how many so.
    pub(super) fn give_up(&self, end: std::time::Duration) -> Vec<(std::time::Duration, u64)> {
        self.schedule.borrow_mut().give_up(end)
    }
}
