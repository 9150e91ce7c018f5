//! Heads of replies, as they are written on the wire of whichever version of HTTP. Names and values are valid by their types.

use http::{HeaderName, StatusCode};

use super::{h1, hpack};

/// How a head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines of text (RFC 9112 4).
    Http1,
    /// A field block (RFC 9113 8.3.2).
    Http2,
}

/// Writes one head.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    form: Form,
    out: &'a mut Vec<u8>,
    /// Where it begins.
    begin: usize,
}

impl<'a> HeadWriter<'a> {
    /// Writes behind what is there.
    #[inline]
    pub fn new(form: Form, out: &'a mut Vec<u8>) -> Self {
        let begin = out.len();
        Self { form, out, begin }
    }

    /// How it is written.
    #[inline]
    pub fn form(&self) -> Form {
        self.form
    }

    /// What was written until now.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.out[self.begin..]
    }

    /// What another wrote in the same form.
    #[inline]
    pub fn again(&mut self, written: &[u8]) {
        self.out.extend_from_slice(written);
    }

    /// The status, which comes first.
    #[inline]
    pub fn status(&mut self, status: StatusCode) {
        match self.form {
            Form::Http1 => h1::write_status(status, self.out),
            Form::Http2 => hpack::write_status(status, self.out),
        }
    }

    /// A field.
    #[inline]
    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        match self.form {
            Form::Http1 => h1::write_field(name, value, self.out),
            Form::Http2 => hpack::write_field(name, value, false, self.out),
        }
    }

    /// A field as another message has it, its name in any case.
    #[inline]
    pub fn line(&mut self, name: &[u8], value: &[u8]) {
        match self.form {
            Form::Http1 => {
                let start = self.out.len();
                self.out.extend_from_slice(name);
                self.out[start..].make_ascii_lowercase();
                self.out.extend_from_slice(b": ");
                self.out.extend_from_slice(value);
                self.out.extend_from_slice(b"\r\n");
            }
            Form::Http2 => {
                // Who has read a head has looked at its names.
                if let Ok(name) = HeaderName::from_bytes(name) {
                    hpack::write_field(&name, value, false, self.out);
                }
            }
        }
    }

    /// A field whose value is made where it stands.
    #[inline]
    pub fn value(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        match self.form {
            Form::Http1 => {
                self.out.extend_from_slice(name.as_str().as_bytes());
                self.out.extend_from_slice(b": ");
                write(self.out);
                self.out.extend_from_slice(b"\r\n");
            }
            Form::Http2 => hpack::write_value(name, self.out, write),
        }
    }

    /// The end. In HTTP/1.1 content stands behind it.
    #[inline]
    pub fn end(self) -> &'a mut Vec<u8> {
        if self.form == Form::Http1 {
            self.out.extend_from_slice(b"\r\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use http::header::AGE;

    use super::*;

    #[test]
    fn the_same_head_in_both_forms() {
        for (form, expected) in [
            (Form::Http1, &b"HTTP/1.1 200 OK\r\nage: 7\r\nx: y\r\nx: z\r\n\r\n"[..]),
            (Form::Http2, b"\x88\x0f\x06\x017\0\x01x\x01y\0\x01x\x01z"),
        ] {
            let mut out = Vec::new();
            let mut head = HeadWriter::new(form, &mut out);
            head.status(StatusCode::OK);
            head.field(&AGE, b"7");
            head.value(&HeaderName::from_static("x"), |out| out.push(b'y'));
            head.line(b"X", b"z");
            head.end();
            assert_eq!(out, expected);
        }
    }
}
