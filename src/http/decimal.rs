//! Numbers in decimal digits, without the standard library's formatter, which takes some time for so little.

use std::net::Ipv4Addr;

/// The digits of a number.
pub struct Decimal {
    /// As many as the largest has.
    digits: [u8; 20],
    first: usize,
}

/// The numbers up to 99.
const PAIRS: [[u8; 2]; 100] = {
    let (mut pairs, mut number) = ([[0; 2]; 100], 0);
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl Decimal {
    /// Of this number.
    pub fn of(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut first = digits.len();
        // Two at a time: to divide takes longer than all else.
        while number >= 10 {
            let [tens, ones] = PAIRS[(number % 100) as usize];
            first -= 2;
            (digits[first], digits[first + 1]) = (tens, ones);
            number /= 100;
            if number == 0 {
                return Self { digits, first };
            }
        }
        digits[first - 1] = b'0' + number as u8;
        Self { digits, first: first - 1 }
    }

    /// Its digits in ASCII, those of the greatest worth first.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// An IPv4 address: four numbers with dots between them.
pub struct Dotted {
    text: [u8; 15],
    length: usize,
}

impl Dotted {
    /// Of this address.
    pub fn of(address: Ipv4Addr) -> Self {
        let (mut text, mut end) = ([b'.'; 15], 0);
        for octet in address.octets() {
            for (least, digit) in [(100, octet / 100), (10, octet / 10 % 10), (0, octet % 10)] {
                if octet >= least {
                    text[end] = b'0' + digit;
                    end += 1;
                }
            }
            // Behind each but the last there is a dot.
            end += 1;
        }
        Self { text, length: end - 1 }
    }

    /// Its characters in ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "192.0.2.1", "255.10.100.9", "255.255.255.255", "9.99.199.10"] {
            assert_eq!(Dotted::of(address.parse().unwrap()).as_str(), address);
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in (0..=u16::MAX.into()).chain([u64::MAX - 1, u64::MAX]) {
            assert_eq!(Decimal::of(number).as_str(), number.to_string());
        }
    }
}
