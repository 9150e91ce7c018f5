//! From fields to field blocks.

use http::{HeaderName, StatusCode};

use super::fixed;

/// A status.
pub fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    match fixed::status(status) {
        Some(index) => out.push(0x80 | index),
        None => {
            out.extend_from_slice(&[8, 3]);
            out.extend_from_slice(status.as_str().as_bytes());
        }
    }
}

/// A field. Whoever passes it on keeps it out of tables, too, if it is a secret (RFC 7541 7.1.3).
pub fn write_field(name: &HeaderName, value: &[u8], secret: bool, out: &mut Vec<u8>) {
    write_name(name, secret, out);
    write_integer(value.len(), 0, 7, out);
    out.extend_from_slice(value);
}

/// A field whose value is made where it stands.
pub fn write_value(name: &HeaderName, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write_name(name, false, out);
    let begin = out.len();
    out.push(0);
    write(out);
    let length = out.len() - begin - 1;
    if length < 0x7f {
        out[begin] = length as u8;
    } else {
        let mut prefix = Vec::new();
        write_integer(length, 0, 7, &mut prefix);
        out.splice(begin..=begin, prefix);
    }
}

/// That our table takes no more than this, which stands at the beginning of a block (RFC 7541 4.2).
pub fn write_resize(most: u32, out: &mut Vec<u8>) {
    write_integer(most as usize, 0x20, 5, out);
}

fn write_name(name: &HeaderName, secret: bool, out: &mut Vec<u8>) {
    let form = if secret { 0x10 } else { 0 };
    match fixed::index(name) {
        Some(index) => write_integer(usize::from(index), form, 4, out),
        None => {
            out.push(form);
            write_integer(name.as_str().len(), 0, 7, out);
            out.extend_from_slice(name.as_str().as_bytes());
        }
    }
}

/// RFC 7541 5.1.
fn write_integer(mut value: usize, form: u8, bits: u8, out: &mut Vec<u8>) {
    let mask = (1_usize << bits) - 1;
    if value < mask {
        return out.push(form | value as u8);
    }
    out.push(form | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use http::header::{AGE, SERVER};
    use proptest::prelude::*;

    use super::super::decode::{Decoder, Field, Text};
    use super::*;

    #[test]
    fn integers_as_in_rfc_7541_c_1() {
        for (value, bits, bytes) in
            [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42]), (31, 5, &[31, 0])]
        {
            let mut out = Vec::new();
            write_integer(value, 0, bits, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn statuses_and_secrets() {
        let mut out = Vec::new();
        write_status(StatusCode::OK, &mut out);
        write_status(StatusCode::IM_A_TEAPOT, &mut out);
        write_field(&AGE, b"7", false, &mut out);
        write_field(&HeaderName::from_static("x"), b"y", true, &mut out);
        write_resize(0, &mut out);
        assert_eq!(out, b"\x88\x08\x03418\x0f\x06\x017\x10\x01x\x01y\x20");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value in "[ -~]{0,300}", name in "[a-z]{1,200}") {
            let name: HeaderName = name.parse().unwrap();
            let (mut out, mut read) = (Vec::new(), Vec::new());
            write_field(&name, value.as_bytes(), false, &mut out);
            write_value(&SERVER, &mut out, |out| out.extend_from_slice(value.as_bytes()));
            Decoder::default().decode(&out, &mut Text::default(), |field, _| read.push(field)).unwrap();
            let value = http::HeaderValue::from_str(&value).unwrap();
            prop_assert_eq!(read, [Field::Field(name, value.clone()), Field::Field(SERVER, value)]);
        }
    }
}
