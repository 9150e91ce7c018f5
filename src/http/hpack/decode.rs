//! From field blocks to fields.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method};

use super::{Broken, TABLE, fixed, huffman};

/// A field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `:method`.
    Method(Method),
    /// `:scheme`.
    Scheme(Scheme),
    /// `:authority`.
    Authority(Authority),
    /// `:path`.
    Path(PathAndQuery),
    /// `:protocol` (RFC 8441).
    Protocol(Bytes),
    /// Any that is no pseudo-field.
    Field(HeaderName, HeaderValue),
    /// One that no request may have, or whose value is malformed.
    Malformed(Box<Name>),
}

/// A field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// `:protocol`.
    Protocol,
    /// Any that is no pseudo-field.
    Field(HeaderName),
    /// One that no field of a request can have.
    Unknown,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            // Upper case makes it malformed (RFC 9113 8.2.1).
            name => HeaderName::from_lowercase(name).map_or(Self::Unknown, Self::Field),
        }
    }

    fn with(self, value: Bytes) -> Field {
        let field = match &self {
            Self::Method => Method::from_bytes(&value).ok().map(Field::Method),
            Self::Scheme => Scheme::try_from(&value[..]).ok().map(Field::Scheme),
            Self::Authority => Authority::from_maybe_shared(value).ok().map(Field::Authority),
            // RFC 9113 8.3.1: it is not empty.
            Self::Path if value.is_empty() => None,
            Self::Path => PathAndQuery::from_maybe_shared(value).ok().map(Field::Path),
            Self::Protocol => std::str::from_utf8(&value).is_ok().then_some(Field::Protocol(value)),
            Self::Field(name) => {
                let value = HeaderValue::from_maybe_shared(value);
                value.ok().map(|value| Field::Field(name.clone(), value))
            }
            Self::Unknown => None,
        };
        field.unwrap_or_else(|| Field::Malformed(Box::new(self)))
    }
}

impl Field {
    fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Protocol(_) => Name::Protocol,
            Self::Field(name, _) => Name::Field(name.clone()),
            Self::Malformed(name) => (**name).clone(),
        }
    }
}

/// An entry of the dynamic table (RFC 7541 2.3.2).
#[derive(Debug)]
struct Entry {
    field: Field,
    name_length: usize,
    size: usize,
}

/// What every entry counts beside its name and value (RFC 7541 4.1).
const OVERHEAD: usize = 32;

/// Decodes the field blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    /// What the client has said that it may take, at most `TABLE`.
    most: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: TABLE as usize }
    }
}

impl Decoder {
    /// Hands out the fields of a block, with what each counts in the size of a list (RFC 9113 6.5.2). `text` is memory to
    /// work in, which may be used again as soon as nobody holds a field of that block.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        text: &mut Text,
        mut each: impl FnMut(Field, usize),
    ) -> Result<(), Broken> {
        let mut begins = true;
        while let Some(first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    let (field, size) = self.get(index)?;
                    each(field, size);
                }
                0x20..=0x3f => {
                    // RFC 7541 4.2: it stands at the beginning.
                    let most = integer(&mut block, 5)?;
                    if !begins || most > TABLE as usize {
                        return Err(Broken);
                    }
                    self.most = most;
                    self.evict(0);
                    continue;
                }
                first => {
                    let kept = first & 0x40 != 0;
                    let index = integer(&mut block, if kept { 6 } else { 4 })?;
                    let (name, name_length) = self.name(index, &mut block, text)?;
                    let value = text.read(&mut block, kept)?;
                    let size = name_length + value.len() + OVERHEAD;
                    let field = name.with(value);
                    if kept {
                        self.insert(Entry { field: field.clone(), name_length, size });
                    }
                    each(field, size);
                }
            }
            begins = false;
        }
        Ok(())
    }

    fn get(&self, index: usize) -> Result<(Field, usize), Broken> {
        if let Some(at) = index.checked_sub(fixed::LAST + 1) {
            let entry = self.entries.get(at).ok_or(Broken)?;
            return Ok((entry.field.clone(), entry.size));
        }
        fixed::field(index).ok_or(Broken)
    }

    /// The name that stands there, or in the block itself.
    fn name(&self, index: usize, block: &mut &[u8], text: &mut Text) -> Result<(Name, usize), Broken> {
        if index == 0 {
            return text.with(block, |name| (Name::of(name), name.len()));
        }
        if let Some(at) = index.checked_sub(fixed::LAST + 1) {
            let entry = self.entries.get(at).ok_or(Broken)?;
            return Ok((entry.field.name(), entry.name_length));
        }
        let name = fixed::name(index).ok_or(Broken)?;
        let length = match &name {
            Name::Field(name) => name.as_str().len(),
            Name::Authority => 10,
            Name::Path => 5,
            _ => 7,
        };
        Ok((name, length))
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size);
        // One that is larger than the table has emptied it (RFC 7541 4.4).
        if entry.size <= self.most {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.most
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size;
        }
    }
}

/// An integer whose first byte has so many bits of it (RFC 7541 5.1).
fn integer(block: &mut &[u8], bits: u8) -> Result<usize, Broken> {
    let mask = (1_u8 << bits) - 1;
    let [first, rest @ ..] = *block else { return Err(Broken) };
    *block = rest;
    let mut value = usize::from(first & mask);
    if first & mask < mask {
        return Ok(value);
    }
    // More than any block could need.
    for shift in [0, 7, 14, 21] {
        let [next, rest @ ..] = *block else { return Err(Broken) };
        *block = rest;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken)
}

/// Memory for the strings of a block.
#[derive(Debug, Default)]
pub struct Text {
    values: BytesMut,
    decoded: Vec<u8>,
}

impl Text {
    /// A string (RFC 7541 5.2), as it is meant.
    fn with<T>(&mut self, block: &mut &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<T, Broken> {
        let coded = block.first().is_some_and(|first| first & 0x80 != 0);
        let length = integer(block, 7)?;
        let (string, rest) = block.split_at_checked(length).ok_or(Broken)?;
        *block = rest;
        if !coded {
            return Ok(read(string));
        }
        self.decoded.clear();
        huffman::decode(string, &mut self.decoded)?;
        Ok(read(&self.decoded))
    }

    /// A string to keep: what stays in the table has memory of its own, so that it holds on to no more than it counts.
    fn read(&mut self, block: &mut &[u8], kept: bool) -> Result<Bytes, Broken> {
        let mut values = std::mem::take(&mut self.values);
        let read = self.with(block, |string| match kept {
            true => Bytes::copy_from_slice(string),
            false => {
                values.extend_from_slice(string);
                values.split().freeze()
            }
        });
        self.values = values;
        read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, usize)>, Broken> {
        let mut fields = Vec::new();
        decoder.decode(block, &mut Text::default(), |field, size| {
            let text = match field {
                Field::Method(method) => format!(":method: {method}"),
                Field::Scheme(scheme) => format!(":scheme: {scheme}"),
                Field::Authority(authority) => format!(":authority: {authority}"),
                Field::Path(path) => format!(":path: {path}"),
                Field::Protocol(protocol) => format!(":protocol: {protocol:?}"),
                Field::Field(name, value) => format!("{name}: {}", value.to_str().unwrap()),
                Field::Malformed(_) => "malformed".into(),
            };
            fields.push((text, size));
        })?;
        Ok(fields)
    }

    /// RFC 7541 C.3 and C.4: three requests each, plain and in Huffman's code.
    #[test]
    fn rfc_7541_examples() {
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::default();
            let expected: [&[&str]; 3] = [
                &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
                &[
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com",
                    "cache-control: no-cache",
                ],
                &[
                    ":method: GET",
                    ":scheme: https",
                    ":path: /index.html",
                    ":authority: www.example.com",
                    "custom-key: custom-value",
                ],
            ];
            for (block, expected) in blocks.iter().zip(expected) {
                let fields = decoded(&mut decoder, &hex(block)).unwrap();
                let texts: Vec<&str> = fields.iter().map(|(text, _)| text.as_str()).collect();
                assert_eq!(texts, expected);
                for (text, size) in &fields {
                    assert_eq!(*size, text.len() - 2 + OVERHEAD, "{text}");
                }
            }
            assert_eq!((decoder.entries.len(), decoder.size), (3, 164));
        }
    }

    #[test]
    fn what_breaks_the_tables() {
        for block in [
            &[0x80][..],
            &[0xbe],
            &[0xff, 0xff, 0x01],
            &[0x40],
            &[0x40, 1, b'x'],
            &[0x3f, 0xff, 0xff, 0x7f],
            // Larger than was agreed, and behind a field.
            &[0x3f, 0xe2, 0x1f],
            &[0x82, 0x20],
            &[0x00, 0x81, 0xff, 0x81, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert_eq!(decoded(&mut Decoder::default(), block), Err(Broken), "{block:x?}");
        }
    }

    #[test]
    fn the_table_stays_within_its_bound() {
        let mut decoder = Decoder::default();
        let entry =
            |name: u8, length: u8| [&[0x40, 1, name, length][..], &vec![b'v'; usize::from(length)]].concat();
        for _ in 0..100 {
            decoded(&mut decoder, &entry(b'a', 100)).unwrap();
        }
        assert_eq!((decoder.entries.len(), decoder.size), (4096 / 133, 4096 / 133 * 133));
        decoded(&mut decoder, &[0x3f, 0x81, 0x01]).unwrap();
        assert_eq!((decoder.most, decoder.entries.len()), (160, 1));
        // What is larger than the table empties it, and a name in it can still be meant.
        let own = [&[0x7e, 126][..], &[b'v'; 126]].concat();
        decoded(&mut decoder, &[0x3f, 0x61]).unwrap();
        decoded(&mut decoder, &[0x20, 0x3f, 0x61]).unwrap();
        assert_eq!((decoder.most, decoder.entries.len()), (128, 0));
        assert_eq!(decoded(&mut decoder, &own), Err(Broken));
    }

    #[test]
    fn malformed_fields_leave_the_tables_whole() {
        let mut decoder = Decoder::default();
        let malformed = vec![("malformed".to_owned(), 34)];
        for field in [&b"X"[..], b" ", b":"] {
            let block = [&[0x40, 1][..], field, &[1, b'v']].concat();
            assert_eq!(decoded(&mut decoder, &block).unwrap(), malformed);
            assert_eq!(decoded(&mut decoder, &[0xbe]).unwrap(), malformed);
            assert_eq!(decoded(&mut decoder, &[0x7e, 1, b'w']).unwrap(), malformed, "by its name");
        }
        // A value that cannot be: its name can.
        assert_eq!(decoded(&mut decoder, &[0x40, 1, b'x', 1, 0]).unwrap(), malformed);
        assert_eq!(decoded(&mut decoder, &[0x7e, 1, b'w']).unwrap(), [("x: w".to_owned(), 34)]);
    }

    proptest! {
        #[test]
        fn nothing_panics(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::default();
            for block in blocks {
                if decoder.decode(&block, &mut Text::default(), |_, _| {}).is_err() {
                    break;
                }
                prop_assert!(decoder.size <= decoder.most);
                prop_assert_eq!(decoder.size, decoder.entries.iter().map(|entry| entry.size).sum::<usize>());
            }
        }
    }
}
