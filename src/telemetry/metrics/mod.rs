//! Counting: cells that only their own thread writes, slots instead of names, sums when someone asks.

mod cells;
mod histogram;
mod openmetrics;
mod slots;
mod status;
mod sum;

use std::time::Duration;

use super::account::Account;
use super::outcome::{AttemptOutcome, ConnectionRefused, HandshakeFailure, Recoding};
use crate::http::accept_encoding::Coding;
pub(super) use openmetrics::encode;

/// Route names that are told apart.
pub(super) const MAX_ROUTES: usize = 4096;
/// Upstream names that are told apart.
pub(super) const MAX_UPSTREAMS: usize = 1024;
/// Endpoints that are told apart, over all upstreams.
pub(super) const MAX_ENDPOINTS: usize = 4096;

/// The names behind the slots.
#[derive(Debug)]
pub(super) struct Series {
    routes: slots::Names<Box<str>>,
    upstreams: slots::Names<Box<str>>,
    endpoints: slots::Names<(Box<str>, Box<str>)>,
}

impl Series {
    pub(super) fn new() -> Self {
        Self {
            routes: slots::Names::new(MAX_ROUTES),
            upstreams: slots::Names::new(MAX_UPSTREAMS),
            endpoints: slots::Names::new(MAX_ENDPOINTS),
        }
    }

    pub(super) fn route(&self, name: &str) -> u32 {
        self.routes.slot(name.into())
    }

    pub(super) fn upstream(&self, name: &str) -> u32 {
        self.upstreams.slot(name.into())
    }

    pub(super) fn endpoint(&self, upstream: &str, endpoint: &str) -> u32 {
        self.endpoints.slot((upstream.into(), endpoint.into()))
    }
}

/// What one thread counts; written by that thread alone.
#[derive(Debug)]
pub(super) struct ThreadCells(cells::Cells);

impl ThreadCells {
    pub(super) fn new() -> Self {
        Self(cells::Cells::new())
    }

    pub(super) fn finished(&self, finished: &Account<'_>) {
        self.0.finished(finished);
    }

    pub(super) fn attempt(
        &self,
        upstream: u32,
        endpoint: u32,
        outcome: AttemptOutcome,
        first_byte: Option<Duration>,
    ) {
        self.0.attempt(upstream, endpoint, outcome, first_byte);
    }

    pub(super) fn retry(&self, upstream: u32) {
        self.0.upstreams.get(upstream).retries.add(1);
    }

    pub(super) fn cache_skip(&self, reason: &'static str) {
        self.0.skips.add(reason);
    }

    pub(super) fn recoded(&self, coding: Coding, way: Recoding, begins: bool, taken: u64, given: u64) {
        let cells = &self.0.codings[coding as usize][way as usize];
        cells.bodies.add(begins.into());
        cells.taken.add(taken);
        cells.given.add(given);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.0.refusals.add(reason);
    }

    pub(super) fn connection_opened(&self) {
        self.0.opened.add(1);
    }

    pub(super) fn connection_closed(&self) {
        self.0.closed.add(1);
    }

    pub(super) fn handshake_done(&self, kind: cells::Handshake) {
        self.0.handshakes.add(kind);
    }

    pub(super) fn handshake_failed(&self, failure: HandshakeFailure) {
        self.0.handshakes_failed[failure as usize].add(1);
    }

    pub(super) fn connection_refused(&self, reason: ConnectionRefused) {
        self.0.refused[reason as usize].add(1);
    }
}
