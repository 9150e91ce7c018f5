//! Waking at a point in time, more exactly than the runtime's timers do: those go by milliseconds, and a request that is
//! sent a millisecond late would be counted as a millisecond slow.

use std::io;
use std::time::Instant;

#[cfg(target_os = "linux")]
mod exact {
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Instant, io};

    /// A timer of the kernel's that the event loop waits for like a socket.
    #[derive(Debug)]
    pub(in crate::bench) struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        // What may go wrong with it is a type that names a descriptor which is not its own: an `OwnedFd` is.
        #[expect(deprecated, reason = "its successor is unsafe, for any type at all")]
        pub(in crate::bench) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            Ok(Self(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
        }

        /// Waits until then, or a little longer.
        pub(in crate::bench) async fn until(&self, at: Instant) -> io::Result<()> {
            loop {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                let value = Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                };
                let never = Timespec { tv_sec: 0, tv_nsec: 0 };
                // Setting it anew also takes back what has not been read of the time before.
                let new = Itimerspec { it_interval: never, it_value: value };
                timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &new)?;
                self.0.readable().await?.clear_ready();
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod exact {
    use super::{Instant, io};

    /// The runtime's timer: whoever needs it better sees in the report how late it was.
    #[derive(Debug)]
    pub(in crate::bench) struct Alarm;

    impl Alarm {
        pub(in crate::bench) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits until then, or a little longer.
        pub(in crate::bench) async fn until(&self, at: Instant) -> io::Result<()> {
            tokio::time::sleep_until(at.into()).await;
            Ok(())
        }
    }
}

pub(super) use exact::Alarm;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_never_wakes_too_early_and_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 50, 700, 3000] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
        // One that nobody waited for to its end leaves nothing behind.
        let far = Instant::now() + Duration::from_secs(3600);
        assert!(tokio::time::timeout(Duration::from_millis(1), alarm.until(far)).await.is_err());
        let at = Instant::now() + Duration::from_millis(2);
        alarm.until(at).await.unwrap();
        assert!(Instant::now() >= at);
    }
}
