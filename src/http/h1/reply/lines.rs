//! A reply's head by its lines, for who needs no map of it.

use std::slice;

use http::{StatusCode, Version};

use crate::http::h1::field::Field;
use crate::http::h1::head::Content;

/// What a reply's head says in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its status.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// How its content ends; there is none behind a reply to HEAD.
    pub content: Content,
    /// What `Content-Length` says, whether such content follows or not.
    pub length: Option<u64>,
}

impl Outline {
    /// Whether another reply follows for the same request.
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// A field, by the bytes of its section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) name: usize,
    pub(super) name_length: usize,
    pub(super) value: usize,
    pub(super) value_length: usize,
}

impl Place {
    /// Of a field of the line that begins at `start`.
    pub(super) fn of(field: &Field<'_>, start: usize, line: &[u8]) -> Self {
        let behind_colon = field.name.len() + 1;
        let space = line[behind_colon..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        // Where there is nothing but white space, the value is empty wherever it stands.
        let value = start + if field.value.is_empty() { behind_colon } else { behind_colon + space };
        Self { name: start, name_length: field.name.len(), value, value_length: field.value.len() }
    }
}

/// Fields in the order in which they came: names as they were written, values without the white space around them.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    section: &'a [u8],
    places: slice::Iter<'a, Place>,
}

impl<'a> Fields<'a> {
    /// Of this section.
    pub(super) fn new(section: &'a [u8], places: &'a [Place]) -> Self {
        Self { section, places: places.iter() }
    }

    /// The whole section, with what stands before and between them.
    pub fn section(&self) -> &'a [u8] {
        self.section
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let place = self.places.next()?;
        let name = &self.section[place.name..place.name + place.name_length];
        Some((name, &self.section[place.value..place.value + place.value_length]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}
