//! Frames in, frames out.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::server::frames::{END_HEADERS, LARGEST};

fn bounds() -> Bounds {
    Bounds { streams: 3, list: 1000, window: 100_000, windows: 200_000 }
}

struct Peer {
    session: Session,
    assembly: Assembly,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GET http://a/ , by the static table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];

fn head(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, GET)
}

impl Peer {
    fn new() -> Self {
        Self::within(bounds())
    }

    fn within(bounds: Bounds) -> Self {
        let mut peer =
            Self { session: Session::new(bounds, Meter::new(9, 9)), assembly: Assembly::default() };
        assert!(peer.says(&[&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat()).is_empty());
        assert_eq!(
            peer.hears().iter().map(|frame| frame.0).collect::<Vec<_>>(),
            [SETTINGS, WINDOW_UPDATE, SETTINGS]
        );
        peer
    }

    /// The requests in what it says; those with content, and others, are gone on with.
    fn says(&mut self, mut bytes: &[u8]) -> Vec<Opened> {
        let mut opened = Vec::new();
        while let Some(next) = self.session.read(&mut self.assembly, &mut bytes) {
            self.session.begin_stream(next);
            opened.push(next);
        }
        opened
    }

    /// Kind, flags, stream and payload of each frame that was to be sent.
    fn hears(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.session.out.poll_send(&mut cx, &mut bytes).is_ready());
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some((head, behind)) = rest.split_first_chunk::<{ Head::SIZE }>() {
            let head = Head::of(*head);
            let (payload, behind) = behind.split_at(head.length as usize);
            frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
            rest = behind;
        }
        frames
    }

    fn sends(&mut self, stream: u32, content: &mut Bytes) -> Poll<Result<(), Gone>> {
        let cx = Context::from_waker(Waker::noop());
        self.session.poll_content_sent(stream, content, true, &cx)
    }

    fn reads(&mut self, stream: u32) -> Poll<Option<Result<Bytes, Gone>>> {
        let next = self.session.poll_content(stream, &Context::from_waker(Waker::noop()));
        next.map(|next| next.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }
}

#[test]
fn frames_are_read_in_whatever_pieces() {
    let all = [
        head(1, 0),
        frame(DATA, PADDED, 1, &[2, b'a', b'b', 0, 0]),
        frame(HEADERS, END_STREAM, 3, &GET[..2]),
        frame(CONTINUATION, END_HEADERS, 3, &GET[2..]),
        frame(DATA, END_STREAM, 1, b"c"),
        frame(PING, 0, 0, b"12345678"),
    ]
    .concat();
    for size in [1, 2, 9, 10, 11, 100] {
        let mut peer = Peer::new();
        let opened: Vec<_> = all.chunks(size).flat_map(|piece| peer.says(piece)).collect();
        let streams: Vec<_> = opened.iter().map(|opened| (opened.stream, opened.ended)).collect();
        assert_eq!(streams, [(1, false), (3, true)], "{size}");
        assert_eq!(peer.reads(1), Poll::Ready(Some(Ok("abc".into()))));
        assert_eq!(peer.reads(1), Poll::Ready(None));
        assert_eq!(peer.hears(), [(PING, ACK, 0, b"12345678".to_vec())]);
        assert_eq!(peer.session.meter().offence(), None);
    }
}

#[test]
fn content_waits_for_windows_and_takes_turns() {
    let mut peer = Peer::new();
    peer.says(&[head(1, END_STREAM), head(3, END_STREAM)].concat());
    let mut one = Bytes::from(vec![1; 70_000]);
    let mut two = Bytes::from(vec![3; 10]);
    assert!(peer.sends(1, &mut one).is_pending());
    assert_eq!(one.len(), 70_000 - 65_535);
    assert!(peer.sends(3, &mut two).is_pending(), "the connection's window is spent");
    let sent = peer.hears();
    assert!(sent.iter().all(|(kind, _, stream, payload)| {
        (*kind, *stream) == (DATA, 1) && payload.len() <= LARGEST as usize
    }));
    peer.says(&frame(WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes()));
    assert!(peer.sends(1, &mut one).is_pending(), "its own window is spent, too");
    assert_eq!(peer.sends(3, &mut two), Poll::Ready(Ok(())));
    assert_eq!(peer.hears(), [(DATA, END_STREAM, 3, vec![3; 10])]);
    // A larger initial window opens those of streams that are there (RFC 9113 6.9.2).
    peer.says(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 50]));
    assert!(peer.sends(1, &mut one).is_pending());
    let sent: usize = peer.hears().iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3.len()).sum();
    assert_eq!(sent, 51);
    assert_eq!(peer.session.room(), Some(39));
    peer.says(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(peer.sends(1, &mut one), Poll::Ready(Err(Gone)));
    assert!(peer.session.streams.is_empty());
}

#[test]
fn who_has_much_to_send_does_not_keep_the_others_waiting() {
    let mut peer = Peer::within(Bounds { streams: 20, ..bounds() });
    // The client takes whatever comes.
    peer.says(
        &[frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0, 0]), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])]
            .concat(),
    );
    let streams: Vec<u32> = (0..10).map(|nth| 2 * nth + 1).collect();
    let whole = 4 << 20;
    let mut left: Vec<_> = streams.iter().map(|_| Bytes::from(vec![0; whole])).collect();
    peer.says(&streams.iter().flat_map(|stream| head(*stream, END_STREAM)).collect::<Vec<_>>());
    let sent = |left: &[Bytes]| -> Vec<usize> { left.iter().map(|left| whole - left.len()).collect() };
    let mut woken = streams.clone();
    for _ in 0..40 {
        // As the driver does: who was woken has its say, in that order, then all leaves.
        for stream in &woken {
            let content = &mut left[*stream as usize / 2];
            assert!(peer.sends(*stream, content).is_pending());
        }
        peer.hears();
        woken = peer.session.waiting.clone().into();
        assert!(peer.session.wake_waiting());
        woken.retain(|stream| peer.session.streams.get(*stream).is_some_and(|open| !open.queued));
    }
    let sent = sent(&left);
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    // The first had its say before anybody else was there.
    assert!(most - least <= 5 * (32 << 10), "{sent:?}");
    assert!(sent.iter().sum::<usize>() >= 40 * (96 << 10), "no turn is wasted: {sent:?}");
}

#[test]
fn who_is_gone_waits_no_more() {
    let mut peer = Peer::new();
    let mut all = Bytes::from(vec![1; 65_535]);
    peer.says(&head(1, END_STREAM));
    assert_eq!(peer.sends(1, &mut all), Poll::Ready(Ok(())), "the connection's window is spent");
    for stream in [3, 5, 7] {
        peer.says(&head(stream, END_STREAM));
        assert!(peer.sends(stream, &mut Bytes::from_static(b"x")).is_pending());
        assert_eq!(peer.session.waiting, [stream]);
        peer.says(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        assert!(peer.session.waiting.is_empty());
    }
}

#[test]
fn windows_open_again_as_content_is_read() {
    let mut peer = Peer::new();
    // Our settings are in force.
    peer.says(&[frame(SETTINGS, ACK, 0, &[]), head(1, 0)].concat());
    for _ in 0..6 {
        peer.says(&frame(DATA, 0, 1, &[7; 10_000]));
    }
    assert_eq!(peer.hears(), [], "nothing was read");
    assert_eq!(peer.reads(1), Poll::Ready(Some(Ok(vec![7; 60_000].into()))));
    assert_eq!(peer.hears(), [(WINDOW_UPDATE, 0, 1, 60_000_u32.to_be_bytes().to_vec())]);
    for _ in 0..11 {
        peer.says(&frame(DATA, 0, 1, &[7; 10_000]));
    }
    let reset = peer.hears();
    assert_eq!(reset.last(), Some(&(RST_STREAM, 0, 1, vec![0, 0, 0, 3])), "more than the window");
    assert_eq!(peer.reads(1), Poll::Ready(Some(Err(Gone))));
    assert_eq!(peer.session.receiving + i64::from(peer.session.unreleased), 200_000);
}

#[test]
fn what_nobody_reads_is_not_wanted() {
    let mut peer = Peer::new();
    peer.says(&[head(1, 0), frame(DATA, 0, 1, b"abc")].concat());
    peer.session.unread(1);
    peer.says(&frame(DATA, 0, 1, b"def"));
    assert_eq!(peer.hears(), []);
    assert_eq!(peer.session.reply(1, &[0x88], true), Ok(()));
    assert_eq!(
        peer.hears(),
        [(HEADERS, END_STREAM | END_HEADERS, 1, vec![0x88]), (RST_STREAM, 0, 1, vec![0; 4])]
    );
    // What was on its way is no fault.
    let late = [frame(DATA, 0, 1, b"ghi"), frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x90])].concat();
    peer.says(&late);
    assert_eq!((peer.session.meter().offence(), peer.session.unreleased), (None, 9));
}

#[test]
fn a_small_table_is_agreed_to_once() {
    let mut peer = Peer::new();
    peer.says(
        &[frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]), head(1, END_STREAM), head(3, END_STREAM)].concat(),
    );
    peer.hears();
    for (stream, block) in [(1, &[0x20, 0x88][..]), (3, &[0x88])] {
        assert_eq!(peer.session.reply(stream, &[0x88], true), Ok(()));
        assert_eq!(peer.hears()[0].3, block);
    }
}

#[test]
fn no_more_streams_than_there_may_be() {
    let mut peer = Peer::new();
    let opened = peer.says(&[head(1, 0), head(3, 0), head(5, 0), head(7, END_STREAM)].concat());
    assert_eq!(opened.len(), 3);
    assert_eq!(peer.hears(), [(RST_STREAM, 0, 7, vec![0, 0, 0, 7])]);
}
