//! What is wrong with a message, by the rule that it breaks.

use http::StatusCode;
use thiserror::Error;

/// Why a message is refused. The texts are for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Violation {
    /// A line ends in a line feed alone (RFC 9112 2.2 lets us refuse that; a recipient that takes CR LF only would
    /// read on).
    #[error("a line ends without a carriage return")]
    BareLineFeed,
    /// A carriage return without a line feed (RFC 9112 2.2).
    #[error("a carriage return stands without a line feed")]
    BareCarriageReturn,
    /// NUL or another control character (RFC 9110 5.5).
    #[error("a line holds a control character")]
    ControlCharacter,
    /// Not `method SP target SP version` (RFC 9112 3), or a request of HTTP/0.9.
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is no token (RFC 9110 9.1).
    #[error("the method is malformed")]
    Method,
    /// The target holds what no target may, a fragment for one (RFC 9112 3.2).
    #[error("the request target is malformed")]
    Target,
    /// A version of HTTP that is not spoken in such a message (RFC 9110 15.6.6).
    #[error("this version of HTTP is not spoken here")]
    Version,
    /// Not `version SP status SP reason` (RFC 9112 4).
    #[error("the status line is malformed")]
    StatusLine,
    /// A field line continues the one before, or begins with white space (RFC 9112 2.2, 5.2).
    #[error("a field line is folded")]
    FoldedLine,
    /// A field's name is empty, no token, or not followed by its colon at once (RFC 9112 5.1).
    #[error("a field name is malformed")]
    FieldName,
    /// `Content-Length` is no plain number (RFC 9112 6.3).
    #[error("the Content-Length is malformed")]
    ContentLength,
    /// More than one `Content-Length` (RFC 9112 6.3 lets us refuse equal ones, too).
    #[error("there is more than one Content-Length")]
    RepeatedLength,
    /// `Transfer-Encoding` does not end in one `chunked` (RFC 9112 6.1, 6.3).
    #[error("the Transfer-Encoding is malformed")]
    TransferCoding,
    /// A transfer coding beside `chunked` (RFC 9112 6.1, 7).
    #[error("only the transfer coding chunked is known here")]
    UnknownCoding,
    /// `Transfer-Encoding` where there can be none: in HTTP/1.0, or in a reply without content (RFC 9112 6.1).
    #[error("this message cannot have a Transfer-Encoding")]
    MisplacedCoding,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 6.1).
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndCoding,
    /// An expectation other than `100-continue` (RFC 9110 10.1.1).
    #[error("only the expectation 100-continue is known here")]
    Expectation,
    /// The request line is longer than a head may be (RFC 9110 15.5.15).
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head has too many bytes or fields (RFC 6585 5).
    #[error("the head is too large")]
    HeadTooLarge,
    /// A chunk's size is no hexadecimal number, too large, or followed by junk (RFC 9112 7.1).
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// A chunk extension is malformed (RFC 9112 7.1.1).
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// Chunk extensions are too long (RFC 9112 7.1.1 wants them bounded).
    #[error("chunk extensions are too long")]
    ChunkExtensionsTooLarge,
    /// A chunk's data is not followed by CR LF (RFC 9112 7.1).
    #[error("a chunk is longer than it says")]
    ChunkEnd,
    /// The trailer section has too many bytes or fields.
    #[error("the trailer section is too large")]
    TrailersTooLarge,
    /// A field value of HTTP/2 begins or ends with white space (RFC 9113 8.2.1).
    #[error("a field value begins or ends with white space")]
    PaddedValue,
}

impl Violation {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::BareLineFeed,
        Self::BareCarriageReturn,
        Self::ControlCharacter,
        Self::RequestLine,
        Self::Method,
        Self::Target,
        Self::Version,
        Self::StatusLine,
        Self::FoldedLine,
        Self::FieldName,
        Self::ContentLength,
        Self::RepeatedLength,
        Self::TransferCoding,
        Self::UnknownCoding,
        Self::MisplacedCoding,
        Self::LengthAndCoding,
        Self::Expectation,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkExtensionsTooLarge,
        Self::ChunkEnd,
        Self::TrailersTooLarge,
        Self::PaddedValue,
    ];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::ControlCharacter => "control_character",
            Self::RequestLine => "malformed_request_line",
            Self::Method => "malformed_method",
            Self::Target => "malformed_target",
            Self::Version => "unsupported_version",
            Self::StatusLine => "malformed_status_line",
            Self::FoldedLine => "folded_line",
            Self::FieldName => "malformed_field_name",
            Self::ContentLength => "malformed_content_length",
            Self::RepeatedLength => "repeated_content_length",
            Self::TransferCoding => "malformed_transfer_coding",
            Self::UnknownCoding => "unknown_transfer_coding",
            Self::MisplacedCoding => "misplaced_transfer_coding",
            Self::LengthAndCoding => "length_and_coding",
            Self::Expectation => "unknown_expectation",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::ChunkSize => "malformed_chunk_size",
            Self::ChunkExtension => "malformed_chunk_extension",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::ChunkEnd => "malformed_chunk_end",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::PaddedValue => "padded_field_value",
        }
    }

    /// What a client is answered; an origin's violation is 502 whatever it is.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The violation among the causes of an error, where hyper hands on what a socket told it.
    pub fn within(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(violation) = error.downcast_ref::<Self>() {
                return Some(*violation);
            }
            // An `io::Error` names what it holds as itself, and its cause as its own.
            let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(violation) = held.and_then(|held| held.downcast_ref::<Self>()) {
                return Some(*violation);
            }
            cause = error.source();
        }
        None
    }
}

impl From<Violation> for std::io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, violation)
    }
}
