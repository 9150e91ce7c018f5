//! The bytes of a stored entry.
//!
//! A record begins with its format version and a checksum over its name and all that follows, so that neither
//! damage nor a record under the wrong name is ever taken for an entry. Whatever does not read is a miss.
//! A record is at most [`MAX_RECORD`] bytes: a head too large for it is cut off into chunks, which the store
//! keeps beside it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::EntryId;
use crate::cache::entry::{BodyRef, Entry, EntryHead, FileBody, Freshness, Part, Source, VaryKey};
use crate::cache::key::{FieldHash, StoredKey};
use crate::clock::Timestamp;

/// Bodies up to this many bytes stand inside the record.
pub(crate) const MAX_INLINE: usize = 4 << 10;
/// The most bytes of a record: beyond, the engine moves leaves to files of its own, which leak.
pub(crate) const MAX_RECORD: usize = 6 << 10;
/// The most bytes of one chunk of a cut-off head.
pub(crate) const MAX_CHUNK: usize = 4 << 10;
/// The most bytes of a head that is stored at all.
const MAX_META: usize = 1 << 20;

/// Version 1 knew no parts; its records are read as those of version 2 that have none.
const VERSION: u8 = 2;
const OLDEST: u8 = 1;
const CHECK: usize = 8;

const SOFT_PURGED: u16 = 1;
/// The body is a part; where it stands follows the body's reference.
const PART: u16 = 2;

/// A record that cannot be read, or an entry that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Checksum, version or structure does not hold.
    #[error("the record is damaged")]
    Damaged,
    /// The head is too large, or the body belongs into a file.
    #[error("the entry is too large for a record")]
    TooLarge,
}

/// Where the chunks of a cut-off head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// Distinguishes the chunks of this write from those of the one it replaces.
    pub generation: u64,
    /// How many there are.
    pub chunks: u16,
}

/// An entry as bytes.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The record.
    pub record: Vec<u8>,
    /// The head's chunks where it was cut off.
    pub overflow: Option<(Overflow, Vec<Vec<u8>>)>,
}

/// Writes an entry; `generation` names the chunks of a large head.
pub(crate) fn encode(id: EntryId, entry: &Entry, generation: u64) -> Result<Encoded, RecordError> {
    let meta = encode_meta(entry)?;
    let mut fixed = encode_fixed(entry);
    let inline: &[u8] = match &entry.body {
        BodyRef::Bytes(bytes) if bytes.len() > MAX_INLINE => return Err(RecordError::TooLarge),
        BodyRef::Bytes(bytes) => bytes,
        BodyRef::File(_) => &[],
    };
    let fits = 1 + CHECK + fixed.len() + 1 + 4 + meta.len() + inline.len() <= MAX_RECORD;
    let overflow = (!fits).then(|| {
        let chunks: Vec<Vec<u8>> = meta.chunks(MAX_CHUNK).map(<[u8]>::to_vec).collect();
        (Overflow { generation, chunks: chunks.len() as u16 }, chunks)
    });
    match &overflow {
        None => {
            fixed.push(0);
            put_bytes(&mut fixed, &meta);
        }
        Some((place, _)) => {
            fixed.push(1);
            fixed.extend_from_slice(&place.generation.to_le_bytes());
            fixed.extend_from_slice(&place.chunks.to_le_bytes());
            fixed.extend_from_slice(&checksum(id, &meta));
        }
    }
    fixed.extend_from_slice(inline);
    let mut record = Vec::with_capacity(1 + CHECK + fixed.len());
    record.push(VERSION);
    record.extend_from_slice(&checksum(id, &fixed));
    record.extend_from_slice(&fixed);
    Ok(Encoded { record, overflow })
}

/// Reads an entry; `chunks` fetches a cut-off head.
pub(crate) fn decode(
    id: EntryId,
    record: &[u8],
    chunks: impl FnOnce(Overflow) -> Option<Vec<u8>>,
) -> Result<Entry, RecordError> {
    read(id, record, chunks).ok_or(RecordError::Damaged)
}

/// Where a record keeps its head's chunks; `None` where it has none or cannot be read.
pub(crate) fn overflow(id: EntryId, record: &[u8]) -> Option<Overflow> {
    let mut place = None;
    let _ = read(id, record, |overflow| {
        place = Some(overflow);
        None
    });
    place
}

fn read(id: EntryId, record: &[u8], chunks: impl FnOnce(Overflow) -> Option<Vec<u8>>) -> Option<Entry> {
    let mut input = Input(record);
    if !(OLDEST..=VERSION).contains(&input.u8()?) {
        return None;
    }
    if input.take(CHECK)? != checksum(id, input.0) {
        // The length check above keeps `input.0` to what follows the checksum.
        return None;
    }
    let fixed = decode_fixed(&mut input)?;
    let meta: std::borrow::Cow<'_, [u8]> = match input.u8()? {
        0 => input.bytes()?.into(),
        1 => {
            let place = Overflow { generation: input.u64()?, chunks: input.u16()? };
            let check = input.take(CHECK)?;
            let meta = chunks(place)?;
            if check != checksum(id, &meta) {
                return None;
            }
            meta.into()
        }
        _ => return None,
    };
    let body = match fixed.body {
        Some(file) => BodyRef::File(file),
        None if input.0.len() <= MAX_INLINE => BodyRef::Bytes(Bytes::copy_from_slice(input.0)),
        None => return None,
    };
    let meta = decode_meta(&meta)?;
    Some(Entry {
        key: meta.key,
        vary: meta.vary,
        head: EntryHead {
            status: fixed.status,
            headers: meta.headers,
            request_time: fixed.request_time,
            response_time: fixed.response_time,
            freshness: fixed.freshness,
        },
        body,
        on_disk: None,
        part: fixed.part,
        trailers: meta.trailers,
        tags: meta.tags,
        route: meta.route,
        sequence: fixed.sequence,
        keep_until: fixed.keep_until,
        soft_purged: fixed.flags & SOFT_PURGED != 0,
    })
}

/// The first 64 bits of BLAKE3 over the entry's name and the bytes.
pub(crate) fn checksum(id: EntryId, bytes: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id.digest.0);
    hasher.update(&id.variant);
    hasher.update(bytes);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}

struct Fixed {
    flags: u16,
    status: StatusCode,
    sequence: u64,
    request_time: Timestamp,
    response_time: Timestamp,
    keep_until: Timestamp,
    freshness: Freshness,
    body: Option<FileBody>,
    part: Option<Part>,
}

fn encode_fixed(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    // Sixteen bits, of which the fixture modes will need some.
    let flags = if entry.soft_purged { SOFT_PURGED } else { 0 } | if entry.part.is_some() { PART } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&entry.head.status.as_u16().to_le_bytes());
    for number in [
        entry.sequence,
        entry.head.request_time.millis(),
        entry.head.response_time.millis(),
        entry.keep_until.millis(),
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let freshness = &entry.head.freshness;
    let bits = u8::from(freshness.must_revalidate)
        | u8::from(freshness.no_cache) << 1
        | u8::from(freshness.stale_if_error.is_some()) << 2;
    out.push(freshness.source as u8);
    out.push(bits);
    for number in [
        freshness.initial_age,
        freshness.lifetime,
        freshness.stale_while_revalidate,
        freshness.stale_if_error.unwrap_or_default(),
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    match &entry.body {
        BodyRef::Bytes(_) => out.push(0),
        BodyRef::File(file) => {
            out.push(1);
            out.extend_from_slice(&file.hash);
            out.extend_from_slice(&file.len.to_le_bytes());
        }
    }
    if let Some(part) = &entry.part {
        out.extend_from_slice(&part.first.to_le_bytes());
        out.push(u8::from(part.complete.is_some()));
        out.extend_from_slice(&part.complete.unwrap_or_default().to_le_bytes());
    }
    out
}

fn decode_fixed(input: &mut Input<'_>) -> Option<Fixed> {
    let flags = input.u16()?;
    let status = StatusCode::from_u16(input.u16()?).ok()?;
    let sequence = input.u64()?;
    let request_time = Timestamp::from_millis(input.u64()?);
    let response_time = Timestamp::from_millis(input.u64()?);
    let keep_until = Timestamp::from_millis(input.u64()?);
    let source = Source::from_number(input.u8()?)?;
    let bits = input.u8()?;
    let (initial_age, lifetime) = (input.u64()?, input.u64()?);
    let (stale_while_revalidate, stale_if_error) = (input.u64()?, input.u64()?);
    let body = match input.u8()? {
        0 => None,
        1 => Some(FileBody { hash: input.take(32)?.try_into().ok()?, len: input.u64()? }),
        _ => return None,
    };
    let part = match flags & PART {
        0 => None,
        _ => {
            let (first, known, complete) = (input.u64()?, input.u8()?, input.u64()?);
            Some(Part { first, complete: (known != 0).then_some(complete) })
        }
    };
    let freshness = Freshness {
        initial_age,
        lifetime,
        source,
        stale_while_revalidate,
        stale_if_error: (bits & 4 != 0).then_some(stale_if_error),
        must_revalidate: bits & 1 != 0,
        no_cache: bits & 2 != 0,
    };
    Some(Fixed { flags, status, sequence, request_time, response_time, keep_until, freshness, body, part })
}

struct Meta {
    key: StoredKey,
    vary: VaryKey,
    headers: HeaderMap,
    trailers: Option<Box<HeaderMap>>,
    tags: Vec<Box<str>>,
    route: Box<str>,
}

fn encode_meta(entry: &Entry) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::with_capacity(1024);
    let key = &entry.key;
    for part in [&key.upstream, &key.scheme, &key.authority, &key.target, &entry.route] {
        put_bytes(&mut out, part.as_bytes());
    }
    put_fields(&mut out, &key.fields);
    put_fields(&mut out, &entry.vary.fields);
    put_len(&mut out, entry.tags.len());
    for tag in &entry.tags {
        put_bytes(&mut out, tag.as_bytes());
    }
    put_headers(&mut out, &entry.head.headers);
    match &entry.trailers {
        None => out.push(0),
        Some(trailers) => {
            out.push(1);
            put_headers(&mut out, trailers);
        }
    }
    if out.len() > MAX_META { Err(RecordError::TooLarge) } else { Ok(out) }
}

fn decode_meta(bytes: &[u8]) -> Option<Meta> {
    let mut input = Input(bytes);
    let [upstream, scheme, authority, target, route] =
        [input.text()?, input.text()?, input.text()?, input.text()?, input.text()?];
    let fields = input.fields()?;
    let vary = VaryKey { fields: input.fields()? };
    let tags = (0..input.len()?).map(|_| input.text()).collect::<Option<Vec<_>>>()?;
    let headers = input.headers()?;
    let trailers = match input.u8()? {
        0 => None,
        1 => Some(Box::new(input.headers()?)),
        _ => return None,
    };
    input.0.is_empty().then_some(Meta {
        key: StoredKey { upstream, scheme, authority, target, fields },
        vary,
        headers,
        trailers,
        tags,
        route,
    })
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // Saturating: a length beyond 4 GiB is refused by the cap on the whole.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_fields(out: &mut Vec<u8>, fields: &[(Box<str>, Option<FieldHash>)]) {
    put_len(out, fields.len());
    for (name, hash) in fields {
        put_bytes(out, name.as_bytes());
        match hash {
            None => out.push(0),
            Some(hash) => {
                out.push(1);
                out.extend_from_slice(&hash.0);
            }
        }
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    put_len(out, headers.len());
    for (name, value) in headers {
        put_bytes(out, name.as_str().as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Bytes still to be read. No method reads, or allocates for, more than is there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A number of things of which each takes at least one byte.
    fn len(&mut self) -> Option<usize> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize;
        (len <= self.0.len()).then_some(len)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    fn fields(&mut self) -> Option<Vec<(Box<str>, Option<FieldHash>)>> {
        (0..self.len()?)
            .map(|_| {
                let name = self.text()?;
                let hash = match self.u8()? {
                    0 => None,
                    1 => Some(FieldHash(self.take(16)?.try_into().ok()?)),
                    _ => return None,
                };
                Some((name, hash))
            })
            .collect()
    }

    fn headers(&mut self) -> Option<HeaderMap> {
        let len = self.len()?;
        let mut headers = HeaderMap::try_with_capacity(len.min(1024)).ok()?;
        for _ in 0..len {
            let name = HeaderName::from_bytes(self.bytes()?).ok()?;
            let value = HeaderValue::from_bytes(self.bytes()?).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::store::tests::{entry, id};

    fn round_trip(entry: &Entry) -> Entry {
        let id = id(entry);
        let encoded = encode(id, entry, 7).unwrap();
        assert!(encoded.record.len() <= MAX_RECORD);
        decode(id, &encoded.record, |place| {
            let (expected, chunks) = encoded.overflow.as_ref()?;
            (place == *expected).then(|| chunks.concat())
        })
        .unwrap()
    }

    fn assert_same(left: &Entry, right: &Entry) {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }

    #[test]
    fn an_entry_reads_back_as_it_was() {
        let mut stored = entry("/a", b"hello");
        assert_same(&round_trip(&stored), &stored);
        stored.soft_purged = true;
        stored.trailers = Some(Box::new(stored.head.headers.clone()));
        stored.vary.fields = vec![("accept".into(), Some(FieldHash([3; 16]))), ("dnt".into(), None)];
        stored.body = BodyRef::File(FileBody { hash: [9; 32], len: 1 << 33 });
        assert_same(&round_trip(&stored), &stored);
        for complete in [None, Some(1 << 40)] {
            stored.part = Some(Part { first: 1 << 34, complete });
            assert_same(&round_trip(&stored), &stored);
        }
    }

    #[test]
    fn a_large_head_is_cut_off_and_read_back() {
        let mut stored = entry("/a", &[1; MAX_INLINE]);
        for _ in 0..40 {
            stored.head.headers.append("x-large", HeaderValue::from_bytes(&[b'x'; 1000]).unwrap());
        }
        assert_same(&round_trip(&stored), &stored);
    }

    #[test]
    fn a_record_of_the_version_before_parts_is_still_read() {
        let stored = entry("/a", b"hello");
        let mut record = encode(id(&stored), &stored, 0).unwrap().record;
        record[0] = 1;
        assert_same(&decode(id(&stored), &record, |_| None).unwrap(), &stored);
        for version in [0, 3] {
            record[0] = version;
            assert!(decode(id(&stored), &record, |_| None).is_err());
        }
    }

    #[test]
    fn a_record_under_another_name_is_not_read() {
        let stored = entry("/a", b"hello");
        let encoded = encode(id(&stored), &stored, 0).unwrap();
        assert!(decode(id(&entry("/b", b"")), &encoded.record, |_| None).is_err());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let mut stored = entry("/a", &[1; MAX_INLINE + 1]);
        assert_eq!(encode(id(&stored), &stored, 0).unwrap_err(), RecordError::TooLarge);
        stored.body = BodyRef::Bytes(Bytes::new());
        stored.route = "r".repeat(MAX_META).into();
        assert_eq!(encode(id(&stored), &stored, 0).unwrap_err(), RecordError::TooLarge);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), seal in any::<bool>()) {
            let id = id(&entry("/a", b""));
            let mut record = bytes;
            if seal && record.len() > 1 + CHECK {
                // Past the checksum, so that the structure itself is exercised.
                record[0] = VERSION;
                let check = checksum(id, &record[1 + CHECK..]);
                record[1..=CHECK].copy_from_slice(&check);
            }
            let _ = decode(id, &record, |_| Some(record.clone()));
            let _ = decode_meta(&record);
        }

        #[test]
        fn one_flipped_bit_is_noticed(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let stored = entry("/a", b"hello");
            let id = id(&stored);
            let mut record = encode(id, &stored, 0).unwrap().record;
            let at = at.index(record.len());
            record[at] ^= 1 << bit;
            // The version's own bits apart: a version that is known changes nothing.
            prop_assume!(!(OLDEST..=VERSION).contains(&record[0]) || at > 0);
            prop_assert!(decode(id, &record, |_| None).is_err());
        }

        #[test]
        fn any_body_and_fields_round_trip(
            body in proptest::collection::vec(any::<u8>(), 0..MAX_INLINE),
            values in proptest::collection::vec("[ -~]{0,300}", 0..40),
            target in "/[ -~]{0,2000}",
            sequence in any::<u64>(),
        ) {
            let mut stored = entry(&target, &body);
            stored.sequence = sequence;
            for value in values {
                stored.head.headers.append("x-value", HeaderValue::from_str(&value).unwrap());
            }
            assert_same(&round_trip(&stored), &stored);
        }
    }
}
