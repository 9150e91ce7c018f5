//! The Huffman code of field strings (RFC 7541 5.2 and B). It is canonical: the lengths say it all.

use super::Broken;

/// The symbol that no string has.
const EOS: usize = 256;

/// Bits of each byte's code, and of EOS.
#[rustfmt::skip]
const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,];

const LONGEST: usize = 30;

/// Codes of up to so many bits are looked up in one step: those of all letters, digits and the usual punctuation.
const SHORT: usize = 10;

/// What follows from the lengths.
struct Code {
    /// Symbols by their codes' order.
    symbols: [u16; EOS + 1],
    /// Of each length: its first code, and that one's place among the symbols.
    first: [u32; LONGEST + 2],
    place: [u16; LONGEST + 2],
    /// Symbol and length by the next bits; length 0: the code is longer.
    short: [(u8, u8); 1 << SHORT],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut made = Self {
            symbols: [0; EOS + 1],
            first: [0; LONGEST + 2],
            place: [0; LONGEST + 2],
            short: [(0, 0); 1 << SHORT],
        };
        let (mut code, mut place, mut length) = (0, 0, 1);
        while length <= LONGEST {
            made.first[length] = code;
            made.place[length] = place as u16;
            let mut symbol = 0;
            while symbol <= EOS {
                if LENGTHS[symbol] as usize == length {
                    made.symbols[place] = symbol as u16;
                    if length <= SHORT {
                        let from = (code as usize) << (SHORT - length);
                        let mut at = from;
                        while at < from + (1 << (SHORT - length)) {
                            made.short[at] = (symbol as u8, length as u8);
                            at += 1;
                        }
                    }
                    (place, code) = (place + 1, code + 1);
                }
                symbol += 1;
            }
            code <<= 1;
            length += 1;
        }
        made.place[LONGEST + 1] = place as u16;
        made
    }

    /// The symbol whose code the bits begin with, and its length.
    fn find(&self, bits: u64) -> (u16, usize) {
        let (symbol, length) = self.short[(bits >> (64 - SHORT)) as usize];
        if length > 0 {
            return (u16::from(symbol), usize::from(length));
        }
        for length in SHORT + 1..=LONGEST {
            let above = ((bits >> (64 - length)) as u32).wrapping_sub(self.first[length]);
            let count = self.place[length + 1] - self.place[length];
            if above < u32::from(count) {
                return (self.symbols[usize::from(self.place[length]) + above as usize], length);
            }
        }
        (EOS as u16, LONGEST)
    }
}

/// Appends what the code stands for.
pub(super) fn decode(mut code: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    // The next bits stand at the top, and ones behind the last, as padding is.
    let (mut bits, mut count) = (0_u64, 0);
    loop {
        while count <= 56 {
            let [next, rest @ ..] = code else { break };
            bits |= u64::from(*next) << (56 - count);
            (code, count) = (rest, count + 8);
        }
        let padded = if count < 64 { bits | (u64::MAX >> count) } else { bits };
        let (symbol, length) = CODE.find(padded);
        if length > count {
            // Padding is shorter than a byte, and all ones.
            return if count < 8 && padded == u64::MAX { Ok(()) } else { Err(Broken) };
        }
        out.push(u8::try_from(symbol).map_err(|_| Broken)?);
        (bits, count) = (bits << length, count - length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each symbol's code, in order.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let place = CODE.symbols.iter().position(|symbol| *symbol == u16::from(byte)).unwrap();
            let code = CODE.first[length] + (place - usize::from(CODE.place[length])) as u32;
            bits.push_str(&format!("{code:0length$b}"));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    /// RFC 7541 C.4 and C.6.
    #[test]
    fn rfc_7541_examples() {
        for (code, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            let bytes: Vec<u8> = (0..code.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&code[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(encode(text.as_bytes()), bytes);
            let mut out = Vec::new();
            decode(&bytes, &mut out).unwrap();
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte() {
        for (code, ok) in [
            (&[][..], true),
            // "0", and padding.
            (&[0b0000_0111][..], true),
            (&[0b0000_0110][..], false),
            (&[0b0000_0111, 0xff][..], false),
            (&[0xff][..], false),
            // EOS itself.
            (&[0xff; 4][..], false),
        ] {
            assert_eq!(decode(code, &mut Vec::new()).is_ok(), ok, "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_coded_comes_back(text: Vec<u8>) {
            let mut out = Vec::new();
            prop_assert!(decode(&encode(&text), &mut out).is_ok());
            prop_assert_eq!(out, text);
        }

        #[test]
        fn nothing_panics(code: Vec<u8>) {
            let _ = decode(&code, &mut Vec::new());
        }
    }
}
