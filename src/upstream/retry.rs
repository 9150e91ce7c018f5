//! Whether a request that failed may be sent again (RFC 9110 9.2.2).

use super::error::Failure;

/// How an attempt failed.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) failure: Failure,
    pub(crate) sent: Sent,
}

/// How much of a request may have reached an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing: no connection was to be had.
    Nothing,
    /// Nothing: a kept connection had closed before the request was written.
    UnwrittenReused,
    /// Nothing: a new connection was closed before the request was written.
    UnwrittenFresh,
    /// Something, but the peer says that it has not looked at it (RFC 9113 8.7), and the body is whole.
    Unprocessed,
    /// Something, but the peer serves it over HTTP/1.1 alone (RFC 9113 7), and the body is whole.
    NeedsHttp1,
    /// Perhaps all, on a connection that had served before and may have been closing.
    Reused,
    /// Perhaps all, on a new connection.
    Fresh,
}

impl Sent {
    /// The same, once it has turned out that nothing was written.
    pub(crate) fn unwritten(self) -> Self {
        match self {
            Self::Fresh => Self::UnwrittenFresh,
            Self::Reused => Self::UnwrittenReused,
            other => other,
        }
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same again; it does not count, since nothing was asked.
    Same,
    /// The same again on whichever connection takes it; it does not count either, but there is an end to it.
    Again,
    /// The same again over HTTP/1.1, where this is asked at most once.
    OverHttp1,
    /// The same again on a new connection.
    Renewed,
    /// Another endpoint.
    Elsewhere,
    /// Give up.
    Stop,
}

/// What follows a failed attempt at a request that may be sent twice or not.
pub(crate) fn next(missed: &Missed, repeatable: bool) -> Next {
    match (&missed.failure, missed.sent) {
        (_, Sent::UnwrittenReused) => Next::Same,
        (_, Sent::UnwrittenFresh) => Next::Renewed,
        (_, Sent::Unprocessed) => Next::Again,
        (_, Sent::NeedsHttp1) => Next::OverHttp1,
        // A line too long here says nothing of the others; a wait in vain has used up the time.
        (Failure::QueueFull, Sent::Nothing) => Next::Elsewhere,
        (failure, Sent::Nothing) if failure.is_connect() => Next::Elsewhere,
        (Failure::ResetBeforeHead(_), Sent::Reused) if repeatable => Next::Renewed,
        _ => Next::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(failure: Failure, sent: Sent, repeatable: bool) -> Next {
        next(&Missed { failure, sent }, repeatable)
    }

    #[test]
    fn what_was_never_sent_may_be_sent_whatever_it_is() {
        assert_eq!(after(Failure::ConnectRefused, Sent::Nothing, false), Next::Elsewhere);
        assert_eq!(after(Failure::QueueFull, Sent::Nothing, false), Next::Elsewhere);
        let unwritten = |sent: Sent| after(Failure::FirstByteTimeout, sent.unwritten(), false);
        assert_eq!(unwritten(Sent::Reused), Next::Same);
        assert_eq!(unwritten(Sent::Fresh), Next::Renewed, "this one counts, or it might never end");
    }

    #[test]
    fn rfc_9113_8_7_what_the_peer_did_not_look_at_may_be_sent_whatever_it_is() {
        assert_eq!(after(Failure::reset("refused"), Sent::Unprocessed, false), Next::Again);
        assert_eq!(after(Failure::reset("not here"), Sent::NeedsHttp1, false), Next::OverHttp1);
        assert_eq!(after(Failure::reset("reset"), Sent::Reused, false), Next::Stop);
        assert_eq!(after(Failure::reset("reset"), Sent::Reused, true), Next::Renewed);
    }

    #[test]
    fn what_may_have_arrived_is_not_sent_again() {
        for sent in [Sent::Reused, Sent::Fresh] {
            assert_eq!(after(Failure::FirstByteTimeout, sent, true), Next::Stop);
            assert_eq!(after(Failure::Deadline, sent, true), Next::Stop);
        }
        assert_eq!(after(Failure::QueueTimeout, Sent::Nothing, true), Next::Stop);
    }
}
