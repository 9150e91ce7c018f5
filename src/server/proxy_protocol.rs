//! Reads what a balancer before us says of the client, ahead of everything else on the connection: the PROXY protocol
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), version 1 in text and version 2 in binary.
//!
//! Never a byte is read beyond it, so that what follows is read by whom it is for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included (2.1).
const LONGEST_LINE: usize = 107;

/// The largest rest of a version 2 header that is read; addresses take 36 bytes, a few extensions some hundred.
const LARGEST_REST: usize = 4096;

/// The extension that holds a checksum of the header (2.2.4).
const CRC32C: u8 = 0x03;

/// What a connection says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// It is the balancer's own (a health check), or one whose addresses it does not tell.
    Own,
    /// It is forwarded: from whom, and to which address of ours or the balancer's.
    Forwarded { source: SocketAddr, destination: SocketAddr },
}

/// A connection that should have said who it is, and did not.
#[derive(Debug, Error)]
pub(super) enum ProxyProtocolError {
    /// Something else came.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// It is not as the specification has it.
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(&'static str),
    /// It ended or failed before.
    #[error("the connection ended within its PROXY protocol header")]
    Ended(#[source] io::Error),
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// So many more bytes belong to it at least.
    Wants(usize),
    Done(Announced),
}

/// Reads the header, and nothing behind it.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Announced, ProxyProtocolError> {
    let mut header = Vec::with_capacity(LONGEST_LINE);
    loop {
        match progress(&header)? {
            Progress::Done(announced) => return Ok(announced),
            Progress::Wants(more) => {
                let had = header.len();
                header.resize(had + more, 0);
                io.read_exact(&mut header[had..]).await.map_err(ProxyProtocolError::Ended)?;
            }
        }
    }
}

/// Judges what has been read of a header.
fn progress(header: &[u8]) -> Result<Progress, ProxyProtocolError> {
    let begins = |with: &[u8]| {
        let shared = header.len().min(with.len());
        header[..shared] == with[..shared]
    };
    // No header is shorter than that.
    let wants = SIGNATURE.len().saturating_sub(header.len());
    if wants > 0 && (begins(SIGNATURE) || begins(b"PROXY ")) {
        Ok(Progress::Wants(wants))
    } else if begins(SIGNATURE) {
        binary(header)
    } else if begins(b"PROXY ") {
        text(header)
    } else {
        Err(ProxyProtocolError::Missing)
    }
}

/// Version 1: one line.
fn text(header: &[u8]) -> Result<Progress, ProxyProtocolError> {
    let Some(end) = header.iter().position(|byte| *byte == b'\n') else {
        if header.len() >= LONGEST_LINE {
            return Err(ProxyProtocolError::Malformed("the line is too long"));
        }
        // As much as the shortest line that begins so has: no byte behind the line is taken.
        let shortest = match header.get(6..11) {
            Some(b"TCP4 ") => "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len(),
            Some(b"TCP6 ") => "PROXY TCP6 :: :: 1 1\r\n".len(),
            _ => 0,
        };
        return Ok(Progress::Wants(shortest.saturating_sub(header.len()).max(1)));
    };
    let line = header[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(ProxyProtocolError::Malformed("the line does not end in CRLF"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let (source, destination) = match words[1..] {
        // Its addresses, if any, are to be ignored.
        ["UNKNOWN", ..] => return Ok(Progress::Done(Announced::Own)),
        ["TCP4", source, destination, ..] => (v4(source)?, v4(destination)?),
        ["TCP6", source, destination, ..] => (v6(source)?, v6(destination)?),
        _ => return Err(ProxyProtocolError::Malformed("the family is none of TCP4, TCP6, UNKNOWN")),
    };
    let [source_port, destination_port] = words[4..] else {
        return Err(ProxyProtocolError::Malformed("the line has not two addresses and two ports"));
    };
    Ok(Progress::Done(Announced::Forwarded {
        source: SocketAddr::new(source, port(source_port)?),
        destination: SocketAddr::new(destination, port(destination_port)?),
    }))
}

fn v4(word: &str) -> Result<IpAddr, ProxyProtocolError> {
    let address = word.parse::<Ipv4Addr>();
    address.map(IpAddr::V4).map_err(|_| ProxyProtocolError::Malformed("an IPv4 address is none"))
}

fn v6(word: &str) -> Result<IpAddr, ProxyProtocolError> {
    let address = word.parse::<Ipv6Addr>();
    address.map(IpAddr::V6).map_err(|_| ProxyProtocolError::Malformed("an IPv6 address is none"))
}

fn port(word: &str) -> Result<u16, ProxyProtocolError> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    let port = word.parse().ok().filter(|_| digits);
    port.ok_or(ProxyProtocolError::Malformed("a port is none"))
}

/// Version 2: sixteen bytes that tell what follows.
fn binary(header: &[u8]) -> Result<Progress, ProxyProtocolError> {
    let Some((fixed, rest)) = header.split_at_checked(16) else {
        return Ok(Progress::Wants(16 - header.len()));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LARGEST_REST {
        return Err(ProxyProtocolError::Malformed("it is too large"));
    }
    if rest.len() < length {
        return Ok(Progress::Wants(length - rest.len()));
    }
    match fixed[12] {
        // LOCAL: whatever follows is to be skipped.
        0x20 => return Ok(Progress::Done(Announced::Own)),
        0x21 => {}
        _ => return Err(ProxyProtocolError::Malformed("the version or the command is unknown")),
    }
    let (announced, taken) = match fixed[13] {
        0x11 => addresses(rest, 4, |bytes| {
            <[u8; 4]>::try_from(bytes).map_or(Ipv4Addr::UNSPECIFIED.into(), IpAddr::from)
        })?,
        0x21 => addresses(rest, 16, |bytes| {
            <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED.into(), IpAddr::from)
        })?,
        // A Unix socket has paths, which are no client's address.
        0x31 if rest.len() >= 216 => (Announced::Own, 216),
        0x00 => return Ok(Progress::Done(Announced::Own)),
        _ => return Err(ProxyProtocolError::Malformed("it is not about a stream")),
    };
    extensions(header, 16 + taken)?;
    Ok(Progress::Done(announced))
}

/// Two addresses of `size` bytes each and two ports, and how many bytes they take.
fn addresses(
    rest: &[u8],
    size: usize,
    address: impl Fn(&[u8]) -> IpAddr,
) -> Result<(Announced, usize), ProxyProtocolError> {
    let taken = 2 * size + 4;
    let Some(block) = rest.get(..taken) else {
        return Err(ProxyProtocolError::Malformed("it is too short for its addresses"));
    };
    let (addresses, ports) = block.split_at(2 * size);
    let source = SocketAddr::new(address(&addresses[..size]), u16::from_be_bytes([ports[0], ports[1]]));
    let destination = SocketAddr::new(address(&addresses[size..]), u16::from_be_bytes([ports[2], ports[3]]));
    Ok((Announced::Forwarded { source, destination }, taken))
}

/// Walks the extensions: they must fill the header to its end, and a checksum among them must be right (2.2.4).
fn extensions(header: &[u8], mut at: usize) -> Result<(), ProxyProtocolError> {
    while at < header.len() {
        let value = at + 3;
        let length =
            header.get(at + 1..value).map(|size| usize::from(u16::from_be_bytes([size[0], size[1]])));
        let end = length.map(|length| value + length).filter(|end| *end <= header.len());
        let end = end.ok_or(ProxyProtocolError::Malformed("an extension is cut off"))?;
        if header[at] == CRC32C {
            let said = <[u8; 4]>::try_from(&header[value..end])
                .map_err(|_| ProxyProtocolError::Malformed("the checksum is not of four bytes"))?;
            if u32::from_be_bytes(said) != checksum(header, value) {
                return Err(ProxyProtocolError::Malformed("the checksum is wrong"));
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC-32C (RFC 3720 B.4) of the header, with zeros where the checksum itself stands.
fn checksum(header: &[u8], own: usize) -> u32 {
    let masked =
        header.iter().enumerate().map(|(at, byte)| if (own..own + 4).contains(&at) { 0 } else { *byte });
    !masked.fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 * (sum & 1)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A version 2 header: command, family, and what follows.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    const V4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x67, 0x01, 0xBB];

    /// What reading comes to, and what is left behind it.
    fn outcome(bytes: &[u8]) -> (Result<Announced, String>, usize) {
        let mut rest = bytes;
        let read = futures_util::FutureExt::now_or_never(read(&mut rest)).expect("all is there");
        (read.map_err(|error| error.to_string()), rest.len())
    }

    fn forwarded(source: &str, destination: &str) -> Announced {
        Announced::Forwarded { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn a_header_tells_who_the_client_is_and_what_follows_is_left() {
        let v6_block = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 80, 0, 90]].concat();
        let cases = [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n".to_vec(),
                forwarded("192.0.2.1:4711", "198.51.100.7:443"),
            ),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), forwarded("1.1.1.1:1", "2.2.2.2:2")),
            (b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n".to_vec(), forwarded("[2001:db8::1]:65535", "[::1]:0")),
            (b"PROXY TCP6 :: :: 1 1\r\n".to_vec(), forwarded("[::]:1", "[::]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Own),
            (b"PROXY UNKNOWN ffff::1 whatever 1\r\n".to_vec(), Announced::Own),
            (v2(0x21, 0x11, &V4_BLOCK), forwarded("192.0.2.1:4711", "198.51.100.7:443")),
            (v2(0x21, 0x21, &v6_block), forwarded("[::1]:80", "[::2]:90")),
            // With an extension (2.2.2), with one of no bytes, and with padding.
            (
                v2(0x21, 0x11, &[&V4_BLOCK[..], &[1, 0, 2, b'h', b'2', 4, 0, 0]].concat()),
                forwarded("192.0.2.1:4711", "198.51.100.7:443"),
            ),
            (v2(0x20, 0x00, &[]), Announced::Own),
            (v2(0x20, 0x11, &V4_BLOCK), Announced::Own),
            (v2(0x21, 0x00, b"anything"), Announced::Own),
            (v2(0x21, 0x31, &[0; 216]), Announced::Own),
        ];
        for (header, announced) in cases {
            assert_eq!(outcome(&header), (Ok(announced), 0), "{header:?}");
            let followed = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(outcome(&followed), (Ok(announced), 18), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", "does not begin"),
            (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "does not begin"),
            (b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0", "does not begin"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 222\n", "CRLF"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\nGET / HTTP/1.1\r\n", "two ports"),
            (b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", "IPv4"),
            (b"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", "IPv4"),
            (b"PROXY TCP4 ::1 2.2.2.2 12345 23456\r\n", "IPv4"),
            (b"PROXY TCP6 1.1.1.1 ::1 1 2\r\n", "IPv6"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", "port"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", "port"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", "port"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", "two ports"),
            (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", "family"),
            (b"PROXY \r\nGET / HTTP/1.1", "family"),
            (&long, "too long"),
            (&v2(0x11, 0x11, &V4_BLOCK), "version"),
            (&v2(0x22, 0x11, &V4_BLOCK), "version"),
            (&v2(0x21, 0x12, &V4_BLOCK), "stream"),
            (&v2(0x21, 0x11, &V4_BLOCK[..11]), "too short"),
            (&v2(0x21, 0x21, &V4_BLOCK), "too short"),
            (&v2(0x21, 0x31, &[0; 215]), "stream"),
            (&v2(0x21, 0x11, &[0; LARGEST_REST + 1]), "too large"),
            (&v2(0x21, 0x11, &[&V4_BLOCK[..], &[1, 0]].concat()), "cut off"),
            (&v2(0x21, 0x11, &[&V4_BLOCK[..], &[1, 0, 9, 1]].concat()), "cut off"),
            (&v2(0x21, 0x11, &[&V4_BLOCK[..], &[3, 0, 4, 0, 0, 0, 0]].concat()), "checksum is wrong"),
            (&v2(0x21, 0x11, &[&V4_BLOCK[..], &[3, 0, 1, 0]].concat()), "four bytes"),
            (b"PROXY TCP4 1.1.1.1 2.2", "ended"),
            (&v2(0x21, 0x11, &V4_BLOCK)[..20], "ended"),
            (b"", "ended"),
        ];
        for (bytes, why) in cases {
            let (refused, _) = outcome(bytes);
            let refused = refused.expect_err("no header");
            assert!(refused.contains(why), "{bytes:?}: {refused}");
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        // RFC 3720 B.4: 32 bytes of ones; none of them is the checksum's own.
        assert_eq!(checksum(&[0xFF; 32], 32), 0x62A8_AB43);
        let mut header = v2(0x21, 0x11, &[&V4_BLOCK[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
        let at = header.len() - 4;
        let sum = checksum(&header, at).to_be_bytes();
        header[at..].copy_from_slice(&sum);
        assert!(outcome(&header).0.is_ok());
        header[16] ^= 1;
        assert!(outcome(&header).0.is_err());
    }

    proptest! {
        /// Whatever comes is judged without a panic, and a header is never read beyond.
        #[test]
        fn any_bytes_are_judged(start in 0..3_usize, rest in prop::collection::vec(any::<u8>(), 0..64)) {
            let begins: [&[u8]; 3] = [b"", b"PROXY TCP4 ", SIGNATURE];
            let bytes = [begins[start], &rest].concat();
            if let (Ok(announced), left) = outcome(&bytes) {
                let header = &bytes[..bytes.len() - left];
                prop_assert_eq!(outcome(header), (Ok(announced), 0));
                prop_assert!(outcome(&header[..header.len() - 1]).0.is_err());
            }
        }
    }
}
