//! One step: an encoder or a decoder of one coding.

use std::io;

use bytes::{Buf, Bytes};
use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level as CodecLevel;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::zstd::params::{CParameter, DParameter};
use compression_codecs::{
    BrotliDecoder, BrotliEncoder, DecodeV2, EncodeV2, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder,
};

use super::bounds::Bounds;
use super::{Change, CodingError, Level};
use crate::http::accept_encoding::Coding;

/// How far back brotli looks, as a power of two: 1 MiB costs less memory than the 4 MiB it would take, and texts are shorter.
const BROTLI_WINDOW: i32 = 20;
/// Recipients need not look back further than 8 MiB (RFC 9659 3).
const MAX_ZSTD_WINDOW: u32 = 23;
/// How far back zstd looks at most, as a power of two.
const ZSTD_WINDOW: u32 = 21;

pub(super) enum Step {
    Encode(Box<dyn EncodeV2 + Send>),
    Decode { decoder: Box<dyn DecodeV2 + Send>, coding: Coding, bounds: Bounds, state: Reading },
}

/// Where a decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing has come.
    Nothing,
    /// Within coded content.
    Within,
    /// At the end of a whole one. Another may follow (RFC 1952 2.2, RFC 8878 3.1), but for brotli.
    AtEnd,
}

impl Step {
    pub(super) fn new(change: Change) -> Self {
        match change {
            Change::Encode(coding, level) => Self::Encode(encoder(coding, level)),
            Change::Decode(coding, max) => Self::Decode {
                decoder: decoder(coding),
                coding,
                bounds: Bounds::new(max),
                state: Reading::Nothing,
            },
        }
    }

    /// Takes what it can of `input`, and writes behind what `output` has as long as there is room.
    pub(super) fn run(&mut self, input: &mut Bytes, output: &mut WriteBuffer<'_>) -> Result<(), CodingError> {
        match self {
            Self::Encode(encoder) => {
                let mut part = PartialBuffer::new(&input[..]);
                let done = encoder.encode(&mut part, output);
                let taken = part.written_len();
                input.advance(taken);
                done.map_err(CodingError::Malformed)
            }
            Self::Decode { decoder, coding, bounds, state } => {
                if *state == Reading::AtEnd {
                    return next_member(decoder.as_mut(), *coding, input, state);
                }
                if *state == Reading::Nothing && input.is_empty() {
                    return Ok(());
                }
                let before = output.written_len();
                let mut part = PartialBuffer::new(&input[..]);
                let ended = decoder.decode(&mut part, output);
                let taken = part.written_len();
                input.advance(taken);
                bounds.count(taken, output.written_len() - before)?;
                *state = match ended {
                    Ok(true) => Reading::AtEnd,
                    Ok(false) => Reading::Within,
                    // Nothing went in, and nothing was left to come out.
                    Err(_) if taken == 0 && input.is_empty() && *coding == Coding::Gzip => Reading::Within,
                    Err(error) => return Err(CodingError::Malformed(error)),
                };
                Ok(())
            }
        }
    }

    /// Writes all that can be read so far; whether that is done.
    pub(super) fn flush(&mut self, output: &mut WriteBuffer<'_>) -> Result<bool, CodingError> {
        match self {
            Self::Encode(encoder) => encoder.flush(output).map_err(CodingError::Malformed),
            // What came out of it is all that can.
            Self::Decode { .. } => Ok(true),
        }
    }

    /// Writes the end; whether that is done.
    pub(super) fn finish(&mut self, output: &mut WriteBuffer<'_>) -> Result<bool, CodingError> {
        match self {
            Self::Encode(encoder) => encoder.finish(output).map_err(CodingError::Malformed),
            Self::Decode { state: Reading::Within, .. } => Err(CodingError::Incomplete),
            // An empty body is no coded content, but many send it so.
            Self::Decode { .. } => Ok(true),
        }
    }
}

/// What follows whole coded content: more of it, or what does not belong there.
fn next_member(
    decoder: &mut (dyn DecodeV2 + Send),
    coding: Coding,
    input: &mut Bytes,
    state: &mut Reading,
) -> Result<(), CodingError> {
    if input.is_empty() {
        return Ok(());
    }
    if coding == Coding::Brotli {
        let error = io::Error::new(io::ErrorKind::InvalidData, "bytes after the end");
        return Err(CodingError::Malformed(error));
    }
    if coding == Coding::Gzip && input.iter().all(|byte| *byte == 0) {
        // Padding with zeros is common where it was a file on tape.
        input.clear();
        return Ok(());
    }
    decoder.reinit().map_err(CodingError::Malformed)?;
    *state = Reading::Within;
    Ok(())
}

fn encoder(coding: Coding, Level(level): Level) -> Box<dyn EncodeV2 + Send> {
    let level = i32::from(level);
    let precise = CodecLevel::Precise(level);
    match coding {
        Coding::Gzip => Box::new(GzipEncoder::new(FlateEncoderParams::from(precise))),
        Coding::Brotli => {
            let params = EncoderParams::default().quality(precise).window_size(BROTLI_WINDOW);
            Box::new(BrotliEncoder::new(params))
        }
        Coding::Zstd => {
            let params = [CParameter::window_log(ZSTD_WINDOW)];
            Box::new(ZstdEncoder::new_with_params(level, &params))
        }
    }
}

fn decoder(coding: Coding) -> Box<dyn DecodeV2 + Send> {
    match coding {
        Coding::Gzip => Box::new(GzipDecoder::new()),
        Coding::Brotli => Box::new(BrotliDecoder::new()),
        Coding::Zstd => {
            Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(MAX_ZSTD_WINDOW)]))
        }
    }
}
