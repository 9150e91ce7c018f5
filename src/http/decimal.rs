//! Numbers in decimal digits, without the standard library's formatter, which takes some time for so little.

/// The digits of a number.
pub struct Decimal {
    /// As many as the largest has.
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    /// Of this number.
    pub fn of(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, first };
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in (0..=u16::MAX.into()).chain([u64::MAX - 1, u64::MAX]) {
            assert_eq!(Decimal::of(number).as_str(), number.to_string());
        }
    }
}
