//! Calls of gRPC-Web on a route that translates them: from its beginning on such an exchange is the call that it asks for, and
//! only what its client reads is written in the client's way.

use http::HeaderMap;
use http::request::Parts;

use super::exchange::Exchange;
use crate::http::grpc;
use crate::http::grpc_web::{Encoder, WebCall};

/// Makes a request of gRPC-Web one of gRPC; any other stays as it is.
pub(super) fn translate(head: &mut Parts, exchange: &mut Exchange) {
    let Some(call) = WebCall::of(&head.method, &head.headers) else { return };
    call.ask(&mut head.headers);
    exchange.grpc = Some(grpc::Call::with(&head.headers));
    exchange.web = Some(Box::new(call));
}

/// Makes a reply in gRPC one for a client of gRPC-Web, and says what writes its content. What else a service answers, it
/// has not said in gRPC, and its client gets it as it is.
pub(super) fn answer(exchange: &Exchange, headers: &mut HeaderMap) -> Option<Box<Encoder>> {
    let call = exchange.web.as_deref()?;
    call.answer(headers).then(|| Box::new(Encoder::new(call, headers)))
}
