//! Messages that two recipients may read in two ways: the RFCs' rules and the published attacks, as one corpus. What a
//! case says must happen is asserted on the bytes that the other side received; and never does an origin see a request
//! that the client did not send.

mod cache;
mod chunks;
mod frames;
mod heads;
mod http2;
mod lengths;
mod replies;
mod run;
mod targets;

use run::Case;
