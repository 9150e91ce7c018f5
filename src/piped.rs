//! Bytes that go from one socket to another without leaving the kernel: they lie in a pipe in between, which holds references
//! to where they are, and nothing is copied.
//!
//! Pipes are descriptors, and memory that the kernel counts for each user. So there are few, whoever gets none copies, and
//! one that is empty again is kept for the next.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most that lies in one.
#[cfg(target_os = "linux")]
const HELD: usize = 256 << 10;

/// Pipes that a process has at most: half of what the kernel lets a user have without privileges (`pipe-user-pages-soft`).
#[cfg(target_os = "linux")]
const MOST: usize = 128;

/// Empty ones that a thread keeps.
const SPARE: usize = 8;

/// Pipes that there are.
#[cfg(target_os = "linux")]
static ALL: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Bytes in a pipe. Who drops it before they have been [sent](Self::send) throws them away.
#[derive(Debug)]
pub struct Piped {
    /// `None` once it is empty.
    pipe: Option<Pipe>,
    len: usize,
}

#[derive(Debug)]
struct Pipe {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    read: OwnedFd,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    write: OwnedFd,
    /// It is one of those.
    count: &'static AtomicUsize,
}

impl Piped {
    /// Moves what a socket has received, at most so many bytes. `None`: it has closed, or there is no pipe; whoever reads it
    /// will see.
    #[cfg(target_os = "linux")]
    pub fn fill(socket: BorrowedFd<'_>, most: usize) -> io::Result<Option<Self>> {
        use rustix::pipe::{SpliceFlags, splice};
        let Some(pipe) = EMPTY.with_borrow_mut(Vec::pop).or_else(|| Pipe::new(&ALL)) else { return Ok(None) };
        match splice(socket, None, &pipe.write, None, most.min(HELD), SpliceFlags::NONBLOCK) {
            Ok(0) => {
                pipe.keep();
                Ok(None)
            }
            Ok(len) => Ok(Some(Self { pipe: Some(pipe), len })),
            Err(error) => {
                pipe.keep();
                Err(error.into())
            }
        }
    }

    /// There is no such thing here.
    #[cfg(not(target_os = "linux"))]
    pub fn fill(_: BorrowedFd<'_>, _: usize) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Bytes that have not been sent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all of them have.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves as many of them to a socket as it takes, and says how many those are.
    #[cfg(target_os = "linux")]
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let sent = splice(&pipe.read, None, socket, None, self.len, SpliceFlags::NONBLOCK)?;
        self.len -= sent.min(self.len);
        if self.is_empty()
            && let Some(pipe) = self.pipe.take()
        {
            pipe.keep();
        }
        Ok(sent)
    }

    /// There is no such thing here.
    #[cfg(not(target_os = "linux"))]
    pub fn send(&mut self, _: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        Ok(0)
    }
}

impl Pipe {
    #[cfg(target_os = "linux")]
    fn new(count: &'static AtomicUsize) -> Option<Self> {
        use crate::descriptors::{Use, is_reserved};
        use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
        if count.load(Ordering::Relaxed) >= MOST {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let before = count.fetch_add(1, Ordering::Relaxed);
        let pipe = Self { read, write, count };
        if before >= MOST || is_reserved(&pipe.write, Use::Client) {
            return None;
        }
        // Where that is refused it has room for less.
        let _ = fcntl_setpipe_size(&pipe.write, HELD);
        Some(pipe)
    }

    /// It is empty: the next one may use it.
    fn keep(self) {
        EMPTY.with_borrow_mut(|empty| {
            if empty.len() < SPARE {
                empty.push(self);
            }
        });
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// Two ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let here = listener.accept().unwrap().0;
        (here, there)
    }

    /// What has been received, once something has.
    fn fill(socket: &TcpStream, most: usize) -> Piped {
        // Blocks until something is there.
        socket.peek(&mut [0]).unwrap();
        Piped::fill(socket.as_fd(), most).unwrap().unwrap()
    }

    #[test]
    fn what_comes_in_goes_out() {
        let (origin, mut from) = connection();
        let (mut client, to) = connection();
        let content: Vec<u8> = (0..300_000_u32).map(|number| (number / 7) as u8).collect();
        let sent = content.clone();
        let writer = std::thread::spawn(move || from.write_all(&sent).unwrap());
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            read
        });
        let mut moved = 0;
        while moved < content.len() {
            let mut piped = fill(&origin, content.len() - moved);
            moved += piped.len();
            while !piped.is_empty() {
                assert!(piped.send(to.as_fd()).unwrap() > 0);
            }
        }
        writer.join().unwrap();
        drop(to);
        assert!(reader.join().unwrap() == content);
    }

    #[test]
    fn no_more_is_taken_than_is_asked_for() {
        let (origin, mut from) = connection();
        from.write_all(b"content and the next reply").unwrap();
        assert_eq!(fill(&origin, 7).len(), 7);
        let mut rest = [0; 4];
        (&origin).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b" and");
    }

    #[test]
    fn nothing_to_take_is_told_from_the_end() {
        let (origin, from) = connection();
        origin.set_nonblocking(true).unwrap();
        let nothing = Piped::fill(origin.as_fd(), 10).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(from);
        origin.set_nonblocking(false).unwrap();
        assert!(matches!((&origin).read(&mut [0]), Ok(0)));
        assert!(Piped::fill(origin.as_fd(), 10).unwrap().is_none());
    }

    #[test]
    fn what_was_thrown_away_does_not_come_up_again() {
        let (origin, mut from) = connection();
        let (mut client, to) = connection();
        for round in 0..3 * SPARE {
            from.write_all(b"secret").unwrap();
            drop(fill(&origin, 6));
            from.write_all(b"public").unwrap();
            let mut piped = fill(&origin, 6);
            piped.send(to.as_fd()).unwrap();
            let mut read = [0; 6];
            client.read_exact(&mut read).unwrap();
            assert_eq!(&read, b"public", "round {round}");
        }
    }

    #[test]
    fn a_bounded_number_is_there_at_a_time() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut all: Vec<_> = std::iter::from_fn(|| Pipe::new(&COUNT)).take(2 * MOST).collect();
        assert!(all.len() <= MOST, "{}", all.len());
        assert!(Pipe::new(&COUNT).is_none());
        all.clear();
        assert_eq!(COUNT.load(Ordering::Relaxed), 0);
        assert!(Pipe::new(&COUNT).is_some());
    }
}
