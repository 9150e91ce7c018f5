use std::sync::atomic::AtomicBool;

use futures_util::task::AtomicWaker;

use super::*;

/// A connection that a test can break.
struct Fake {
    broken: Arc<AtomicBool>,
    watcher: Arc<AtomicWaker>,
    home: Worker,
    of: Option<Several>,
}

impl Pooled for Fake {
    fn is_usable(&mut self) -> bool {
        !self.broken.load(Ordering::SeqCst)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watcher.register(cx.waker());
        if self.is_usable() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn home(&self) -> Worker {
        self.home
    }

    type Shared = Several;

    fn keepable(self) -> Option<Self> {
        self.of.is_none().then_some(self)
    }
}

/// A connection for several requests.
#[derive(Clone)]
struct Several {
    places: Arc<AtomicUsize>,
    home: Worker,
}

impl Shared<Fake> for Several {
    fn join(&self) -> Option<Fake> {
        let less = |places: usize| places.checked_sub(1);
        self.places.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()?;
        Some(Fake { of: Some(self.clone()), ..fake() })
    }

    fn is_over(&self) -> bool {
        false
    }

    fn streams(&self) -> usize {
        1
    }

    fn idle_for(&self, _: Instant) -> Option<Duration> {
        None
    }

    fn home(&self) -> Worker {
        self.home
    }
}

fn fake() -> Fake {
    Fake { broken: Arc::default(), watcher: Arc::default(), home: Worker::current(), of: None }
}

fn limits(max_connections: usize, max_pending: usize) -> Limits {
    Limits { max_connections, max_pending, keepalive: Duration::from_secs(60) }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn checkout(pool: &Arc<Pool<Fake>>) -> Result<Checkout<Fake>, Failure> {
    pool.checkout(Duration::MAX, Instant::now(), soon()).await
}

async fn permit(pool: &Arc<Pool<Fake>>) -> Permit<Fake> {
    match checkout(pool).await {
        Ok(Checkout::Dial(permit)) => permit,
        _ => panic!("leave to connect expected"),
    }
}

async fn reused(pool: &Arc<Pool<Fake>>) -> Fake {
    match checkout(pool).await {
        Ok(Checkout::Reuse(conn)) => conn,
        _ => panic!("a kept connection expected"),
    }
}

#[tokio::test]
async fn the_newest_usable_connection_is_taken_first() {
    let pool = Pool::new(limits(3, 0), Sharing::Alone);
    let _open = [permit(&pool).await, permit(&pool).await, permit(&pool).await];
    let fakes = [fake(), fake(), fake()];
    let marks = [0, 1, 2].map(|index: usize| Arc::clone(&fakes[index].broken));
    fakes.into_iter().for_each(|conn| pool.put(conn));
    marks[2].store(true, Ordering::SeqCst);
    assert!(Arc::ptr_eq(&reused(&pool).await.broken, &marks[1]));
    assert!(Arc::ptr_eq(&reused(&pool).await.broken, &marks[0]));
    assert!(matches!(checkout(&pool).await, Err(Failure::QueueFull)));
}

#[tokio::test]
async fn what_is_at_hand_is_idle_here_usable_and_not_too_old() {
    let pool = Pool::new(limits(4, 0), Sharing::Unknown);
    let now = Instant::now();
    assert!(pool.at_hand(now).is_none() && pool.open() == 0, "none is made");
    let (kept, broken) = (fake(), fake());
    let mark = Arc::clone(&kept.broken);
    let breaks = Arc::clone(&broken.broken);
    let elsewhere = Fake { home: Worker(Worker::current().0 + 1), ..fake() };
    [kept, elsewhere, broken].into_iter().for_each(|conn| pool.put_at(conn, now));
    breaks.store(true, Ordering::SeqCst);
    let found = pool.at_hand(now).unwrap();
    assert!(Arc::ptr_eq(&found.broken, &mark));
    assert_eq!((pool.at_hand(now).is_none(), pool.idle()), (true, 1));
    pool.put_at(found, now);
    assert!(pool.at_hand(now + Duration::from_secs(61)).is_none());
    assert_eq!(pool.idle(), 1);
}

#[tokio::test]
async fn what_ends_while_it_is_idle_is_dropped_at_once() {
    let pool = Pool::new(limits(3, 0), Sharing::Alone);
    let fakes = [fake(), fake(), fake()];
    let of = |index: usize| (Arc::clone(&fakes[index].broken), Arc::clone(&fakes[index].watcher));
    let (first, third) = (of(0), of(2));
    // The first is there before somebody watches, the others come later.
    let mut fakes = fakes.into_iter();
    pool.put(fakes.next().unwrap());
    tokio::task::yield_now().await;
    fakes.for_each(|conn| pool.put(conn));
    for ((broken, watcher), left) in [(third, 2), (first, 1)] {
        broken.store(true, Ordering::SeqCst);
        watcher.wake();
        while pool.idle() != left {
            tokio::task::yield_now().await;
        }
        assert!(Arc::strong_count(&broken) == 1, "it is not kept elsewhere");
    }
    let over = fake();
    over.broken.store(true, Ordering::SeqCst);
    pool.put(over);
    assert_eq!(pool.idle(), 1);
}

#[tokio::test]
async fn the_line_is_bounded_served_in_order_and_left_by_who_gives_up() {
    let pool = Pool::new(limits(1, 2), Sharing::Alone);
    let held = permit(&pool).await;
    let mut first = Box::pin(checkout(&pool));
    let mut second = Box::pin(checkout(&pool));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(pool.waiting(), 2);
    assert!(matches!(checkout(&pool).await, Err(Failure::QueueFull)));
    drop(first);
    assert_eq!(pool.waiting(), 1);
    drop(held);
    assert!(matches!(second.await, Ok(Checkout::Dial(_))));
    assert_eq!((pool.waiting(), pool.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_ends() {
    let pool = Pool::new(limits(1, 1), Sharing::Alone);
    let _held = permit(&pool).await;
    assert!(matches!(checkout(&pool).await, Err(Failure::QueueTimeout)));
    assert_eq!(pool.waiting(), 0);
}

#[tokio::test]
async fn what_a_waiter_was_handed_but_never_took_goes_on() {
    let pool = Pool::new(limits(1, 2), Sharing::Alone);
    let held = permit(&pool).await;
    let mut first = Box::pin(checkout(&pool));
    let mut second = Box::pin(checkout(&pool));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(held);
    drop(first);
    assert!(matches!(second.await, Ok(Checkout::Dial(_))));
    assert_eq!(pool.open(), 0);
}

#[tokio::test]
async fn a_higher_cap_serves_who_waits() {
    let pool = Pool::new(limits(1, 1), Sharing::Alone);
    let _held = permit(&pool).await;
    let mut waiting = Box::pin(checkout(&pool));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    pool.set_limits(limits(2, 1));
    assert!(matches!(waiting.await, Ok(Checkout::Dial(_))));
}

#[tokio::test]
async fn a_connection_idle_on_another_worker_is_taken_over_at_the_cap_only() {
    let pool = Pool::new(limits(2, 0), Sharing::Alone);
    let open = permit(&pool).await;
    pool.put(Fake { home: Worker(Worker::current().0 + 1), ..fake() });
    let second = permit(&pool).await;
    reused(&pool).await;
    drop((open, second));
}

#[tokio::test]
async fn a_retired_pool_keeps_nothing() {
    let pool = Pool::new(limits(2, 0), Sharing::Alone);
    pool.put(fake());
    pool.retire();
    pool.put(fake());
    assert_eq!(pool.idle(), 0);
}

#[test]
fn the_cap_holds_however_many_threads_press_on_it() {
    const CAP: usize = 3;
    let pool = Pool::new(limits(CAP, 64), Sharing::Alone);
    let most = Arc::new(AtomicUsize::new(0));
    let worker = |_| {
        let (pool, most) = (Arc::clone(&pool), Arc::clone(&most));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let task = || async {
                    for round in 0..200 {
                        match checkout(&pool).await.unwrap_or_else(|failure| panic!("{failure}")) {
                            Checkout::Reuse(conn) => pool.put(conn),
                            Checkout::Dial(permit) => {
                                most.fetch_max(pool.open(), Ordering::SeqCst);
                                tokio::task::yield_now().await;
                                if round % 3 == 0 {
                                    drop(permit);
                                } else {
                                    // The connection's task holds the permit; here it ends at once.
                                    pool.put(fake());
                                    drop(permit);
                                }
                            }
                        }
                    }
                };
                futures_util::future::join_all((0..8).map(|_| task())).await;
            });
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(most.load(Ordering::SeqCst) <= CAP);
    assert_eq!((pool.open(), pool.waiting()), (0, 0));
}

#[tokio::test]
async fn who_cannot_ask_twice_gets_no_connection_that_has_rested_long() {
    let pool = Pool::new(limits(2, 0), Sharing::Alone);
    let first = permit(&pool).await;
    pool.put(fake());
    let later = Instant::now() + Duration::from_secs(5);
    let second = Duration::from_secs(1);
    let Ok(Checkout::Dial(permit)) = pool.checkout(second, later, later + second).await else {
        panic!("leave to connect expected")
    };
    // The cap leaves nothing else.
    assert!(matches!(pool.checkout(second, later, later + second).await, Ok(Checkout::Reuse(_))));
    pool.put(fake());
    assert!(matches!(pool.checkout(second, Instant::now(), soon()).await, Ok(Checkout::Reuse(_))));
    drop((first, permit));
}

#[tokio::test]
async fn who_comes_while_a_connection_is_made_waits_for_room_on_it() {
    let pool = Pool::new(limits(9, 500), Sharing::Unknown);
    let mut first = permit(&pool).await;
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(checkout(&pool))).collect();
    for waiter in &mut waiting {
        assert!(futures_util::poll!(waiter).is_pending());
    }
    assert_eq!((pool.open(), pool.waiting()), (1, 5));
    let places = Arc::new(AtomicUsize::new(3));
    pool.share(Several { places: Arc::clone(&places), home: Worker::current() });
    first.shared_by(3);
    let mut reused = Vec::new();
    let mut dialled = Vec::new();
    for waiter in &mut waiting {
        match futures_util::poll!(waiter) {
            std::task::Poll::Ready(Ok(Checkout::Reuse(conn))) => reused.push(conn),
            std::task::Poll::Ready(Ok(Checkout::Dial(permit))) => dialled.push(permit),
            std::task::Poll::Ready(Err(error)) => panic!("{error}"),
            std::task::Poll::Pending => {}
        }
    }
    assert_eq!(
        (reused.len(), dialled.len(), pool.waiting()),
        (3, 1, 1),
        "one connection more is likely to do"
    );
}

#[tokio::test]
async fn who_waited_for_a_connection_that_fails_tries_for_itself() {
    let pool = Pool::new(limits(9, 500), Sharing::Shared);
    let first = permit(&pool).await;
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(checkout(&pool))).collect();
    for waiter in &mut waiting {
        assert!(futures_util::poll!(waiter).is_pending());
    }
    drop(first);
    pool.dial_failed();
    for waiter in waiting {
        assert!(matches!(waiter.await, Ok(Checkout::Dial(_))));
    }
}

#[tokio::test]
async fn connections_that_turn_out_to_serve_one_at_a_time_are_made_for_all() {
    let pool = Pool::new(limits(9, 500), Sharing::Unknown);
    let mut first = permit(&pool).await;
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(checkout(&pool))).collect();
    for waiter in &mut waiting {
        assert!(futures_util::poll!(waiter).is_pending());
    }
    first.alone();
    let mut permits = Vec::new();
    for waiter in waiting {
        permits.extend(waiter.await);
    }
    assert_eq!(pool.open(), 5);
}
