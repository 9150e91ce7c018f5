//! Round trips over all codings, however the bytes are cut; and what must not come out.

use std::io::Read;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const PLENTY: u64 = 1 << 30;

/// Feeds `pieces` to a coder, flushing after each where that is asked for.
fn coded<'a>(
    change: Change,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    flush: bool,
) -> Result<Vec<u8>, CodingError> {
    let mut coder = Coder::new(change);
    let mut all = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while !input.is_empty() || coder.has_more() {
            let given = coder.push(&mut input)?;
            assert!(given.len() <= PIECE + (1 << 20), "{} bytes at a time", given.len());
            all.extend_from_slice(&given);
        }
        if flush {
            all.extend_from_slice(&coder.flush()?);
        }
    }
    all.extend_from_slice(&coder.finish()?);
    assert_eq!(coder.counts().1, all.len() as u64);
    Ok(all)
}

fn encoded(coding: Coding, content: &[u8]) -> Vec<u8> {
    coded(Change::Encode(coding, Level::usual(coding)), [content], false).expect("encodes")
}

fn decoded(coding: Coding, content: &[u8], max: u64) -> Result<Vec<u8>, CodingError> {
    coded(Change::Decode(coding, max), content.chunks(1000), false)
}

fn text(len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0.. {
        if text.len() >= len {
            break;
        }
        text.extend_from_slice(
            format!("{{\"id\":{line},\"name\":\"number {}\"}}\n", line * 7919 % 1000).as_bytes(),
        );
    }
    text.truncate(len);
    text
}

#[test]
fn large_content_comes_back_and_is_smaller_in_between() {
    let content = text(3 << 20);
    for coding in Coding::ALL {
        let small = encoded(coding, &content);
        assert!(small.len() < content.len() / 4, "{coding:?}: {}", small.len());
        assert!(decoded(coding, &small, PLENTY).expect("decodes") == content, "{coding:?}");
    }
}

#[test]
fn what_was_flushed_can_be_read_at_once() {
    for coding in Coding::ALL {
        let mut encoder = Coder::new(Change::Encode(coding, Level::usual(coding)));
        let mut decoder = Coder::new(Change::Decode(coding, PLENTY));
        for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            let mut sent = encoder.push(&mut Bytes::from(event)).expect("encodes").to_vec();
            sent.extend_from_slice(&encoder.flush().expect("flushes"));
            assert!(!encoder.is_unflushed());
            let read = decoder.push(&mut Bytes::from(sent)).expect("decodes");
            assert_eq!(read, event.as_bytes(), "{coding:?}");
        }
    }
}

#[test]
fn bombs_go_off_within_bounds() {
    let zeros = vec![0; 64 << 20];
    for coding in Coding::ALL {
        let bomb = encoded(coding, &zeros);
        assert!(bomb.len() < 128 << 10, "{coding:?}: {}", bomb.len());
        let mut decoder = Coder::new(Change::Decode(coding, PLENTY));
        let (mut input, mut given) = (Bytes::from(bomb), 0);
        let error = loop {
            match decoder.push(&mut input) {
                Ok(out) => given += out.len(),
                Err(error) => break error,
            }
            assert!(!input.is_empty() || decoder.has_more(), "{coding:?}: all {given} bytes came out");
        };
        assert!(matches!(error, CodingError::TooLarge), "{coding:?}: {error}");
        assert!(given <= 32 << 20, "{coding:?}: {given}");
    }
}

#[test]
fn no_more_comes_out_than_is_allowed() {
    for coding in Coding::ALL {
        let content = text(200_000);
        let small = encoded(coding, &content);
        assert_eq!(decoded(coding, &small, 200_000).expect("fits").len(), 200_000);
        assert!(matches!(decoded(coding, &small, 199_999), Err(CodingError::TooLarge)), "{coding:?}");
    }
}

#[test]
fn content_that_breaks_off_or_is_not_coded_is_an_error() {
    for coding in Coding::ALL {
        let small = encoded(coding, &text(50_000));
        for end in [1, 5, small.len() / 2, small.len() - 1] {
            let error = decoded(coding, &small[..end], PLENTY).expect_err("is not whole");
            assert!(matches!(error, CodingError::Incomplete), "{coding:?} {end}: {error}");
        }
        assert!(decoded(coding, b"this is no such thing", PLENTY).is_err(), "{coding:?}");
        assert_eq!(decoded(coding, b"", PLENTY).expect("nothing"), b"");
    }
}

#[test]
fn members_that_follow_each_other_are_one_content() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let two = [encoded(coding, b"one, "), encoded(coding, b"two")].concat();
        assert_eq!(decoded(coding, &two, PLENTY).expect("decodes"), b"one, two", "{coding:?}");
        for piece in 1..9 {
            let read = coded(Change::Decode(coding, PLENTY), two.chunks(piece), false).expect("decodes");
            assert_eq!(read, b"one, two", "{coding:?} {piece}");
        }
    }
    let padded = [encoded(Coding::Gzip, b"tape"), vec![0; 100]].concat();
    assert_eq!(decoded(Coding::Gzip, &padded, PLENTY).expect("decodes"), b"tape");
    let more = [encoded(Coding::Brotli, b"one"), b"more".to_vec()].concat();
    assert!(decoded(Coding::Brotli, &more, PLENTY).is_err());
}

/// What we write others can read.
#[test]
fn an_independent_decoder_reads_gzip() {
    let content = text(300_000);
    let mut read = Vec::new();
    let small = encoded(Coding::Gzip, &content);
    flate2::read::GzDecoder::new(&small[..]).read_to_end(&mut read).expect("reads");
    assert!(read == content);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_way_of_cutting_comes_back(
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            "[a-e ]{0,3000}".prop_map(String::into_bytes),
            (0_usize..200_000).prop_map(text),
        ],
        cuts in prop::collection::vec(1_usize..70_000, 1..6),
        back in 1_usize..5000,
        flush: bool,
    ) {
        for coding in Coding::ALL {
            let (mut rest, mut pieces, mut at) = (&content[..], Vec::new(), 0);
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
                pieces.push(piece);
                (rest, at) = (left, at + 1);
            }
            let (least, _) = Level::range(coding);
            let small = coded(Change::Encode(coding, least), pieces, flush).expect("encodes");
            let read = coded(Change::Decode(coding, PLENTY), small.chunks(back), false).expect("decodes");
            prop_assert!(read == content, "{:?}: {} bytes", coding, content.len());
        }
    }

    /// Whatever comes from an origin, it ends in bytes or in an error.
    #[test]
    fn junk_never_panics(junk in prop::collection::vec(any::<u8>(), 0..2000), piece in 1_usize..500, at in 0_usize..100) {
        for coding in Coding::ALL {
            let _ = coded(Change::Decode(coding, 1 << 20), junk.chunks(piece), false);
            let mut bent = encoded(coding, &text(5000));
            for (index, byte) in junk.iter().enumerate().take(3) {
                let place = (at * 7 + index * 131) % bent.len();
                bent[place] ^= *byte;
            }
            let _ = coded(Change::Decode(coding, 1 << 20), bent.chunks(piece), false);
        }
    }
}
