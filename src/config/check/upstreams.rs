//! Endpoints: none, too many ways to give them, or such that do not belong together.

use super::{Checks, below, route_path, upstream_path};
use crate::config::codes::Code;
use crate::config::compile::{endpoints, listeners};
use crate::config::file::{Protocol, Route, Upstream};
use crate::config::finding::Finding;
use crate::config::scalar::Size;
use crate::config::tree::Step;
use crate::upstream::settings::EndpointSettings;

/// What a stream's window may be: a frame at least (RFC 9113 6.5.2).
const STREAM_WINDOW: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 30;

impl Checks<'_> {
    pub(super) fn upstreams(&mut self) {
        let file = self.file;
        self.stream_window(file.server.http2.stream_window, &["server".into(), "http2".into()]);
        for (name, upstream) in &file.upstreams.0 {
            self.endpoint_keys(name, upstream);
            let all = endpoints(upstream);
            self.together(name, upstream, &all);
            self.http2(name, upstream, &all);
            for (index, (endpoint, _)) in all.iter().enumerate() {
                self.own_listener(name, &endpoint_path(name, upstream, index), endpoint);
            }
        }
    }

    fn endpoint_keys(&mut self, name: &str, upstream: &Upstream) {
        let path = [Step::from("upstreams"), name.into()];
        match (&upstream.url, &upstream.endpoints) {
            (Some(_), Some(_)) => {
                let url = self.place(&upstream_path(name, "url"));
                let message = format!("upstream `{name}` has both `url` and `endpoints`");
                let place = self.place(&upstream_path(name, "endpoints"));
                let finding = Finding::new(Code::ExclusiveKeys, message).at(place).related(url, "the one");
                self.push(finding.help("put the URL into the list"));
            }
            (None, None) if !self.damaged(&path) => {
                let place = self.place(&path);
                let finding = Finding::new(Code::MissingKey, format!("upstream `{name}` has no endpoint"));
                self.push(finding.at(place).help("add `url = \"https://...\"`"));
            }
            (None, Some(list)) if list.is_empty() && !self.damaged(&upstream_path(name, "endpoints")) => {
                let place = self.place(&upstream_path(name, "endpoints"));
                self.push(Finding::new(Code::Empty, format!("upstream `{name}` has no endpoint")).at(place));
            }
            _ => {}
        }
    }

    fn http2(&mut self, name: &str, upstream: &Upstream, all: &[(EndpointSettings, Box<str>)]) {
        let path = upstream_path(name, "http2");
        let secure = all.first().is_none_or(|(first, _)| first.tls);
        let spoken = match upstream.protocol {
            Some(Protocol::H2) => true,
            Some(Protocol::Http1) => false,
            Some(Protocol::Auto) | None => secure,
        };
        if !spoken && self.written(&path) {
            let message = format!("`http2` does nothing: upstream `{name}` is spoken to in HTTP/1.1");
            self.no_effect(&message, &path, "write `protocol = \"h2\"` if the endpoints speak HTTP/2");
        }
        if !spoken {
            self.grpc_without_http2(name);
        }
        self.stream_window(upstream.http2.stream_window, &path);
    }

    /// gRPC is spoken over HTTP/2 alone.
    fn grpc_without_http2(&mut self, name: &str) {
        let asks = |route: &Route| route.grpc_web && route.upstream.as_ref().is_some_and(|to| to.0 == name);
        let routes = self.file.routes.iter().enumerate().filter(|(_, route)| asks(route));
        for index in routes.map(|(index, _)| index).collect::<Vec<_>>() {
            let message = format!("upstream `{name}` is spoken to in HTTP/1.1, which has no gRPC");
            let help = format!("write `protocol = \"h2\"` in `[upstreams.{name}]`");
            self.no_effect(&message, &route_path(index, "grpc_web"), &help);
        }
    }

    pub(super) fn stream_window(&mut self, window: Option<Size>, path: &[Step]) {
        if window.is_some_and(|size| !STREAM_WINDOW.contains(&size.0)) {
            let message = "`stream_window` is from 16KiB to 1GiB";
            let found = self.found(Code::OutOfRange, message, &below(path, "stream_window"));
            found.help = Some("less holds up every body, more only takes memory".into());
        }
    }

    fn together(&mut self, name: &str, upstream: &Upstream, all: &[(EndpointSettings, Box<str>)]) {
        let Some((first, base)) = all.first() else { return };
        let lost = self.damaged(&upstream_path(name, "endpoints"));
        if all.iter().all(|(endpoint, _)| endpoint.backup) && !lost {
            let message = format!("every endpoint of upstream `{name}` is a backup");
            let found = self.found(Code::OnlyBackups, message, &upstream_path(name, "endpoints"));
            found.help = Some("leave out `backup` where requests should go first".into());
        }
        for (index, (endpoint, other)) in all.iter().enumerate().skip(1) {
            let path = endpoint_path(name, upstream, index);
            let first_place = self.place(&endpoint_path(name, upstream, 0));
            if other != base {
                let message = format!(
                    "endpoints of upstream `{name}` have different base paths: `{base}/` and `{other}/`"
                );
                let place = self.place(&path);
                let finding =
                    Finding::new(Code::MixedEndpoints, message).at(place).related(first_place, "the first");
                self.push(finding.help("endpoints serve the same thing: make two upstreams of them"));
            } else if endpoint.tls != first.tls {
                let message = format!("some endpoints of upstream `{name}` use TLS and some do not");
                let place = self.place(&path);
                self.push(
                    Finding::new(Code::MixedSchemes, message).at(place).related(first_place, "the first"),
                );
            }
            let same = |(earlier, _): &&(EndpointSettings, Box<str>)| {
                (&earlier.host, earlier.port) == (&endpoint.host, endpoint.port)
            };
            if all[..index].iter().any(|earlier| same(&earlier)) {
                let message = format!(
                    "`{}:{}` is an endpoint of upstream `{name}` twice",
                    endpoint.host, endpoint.port
                );
                let found = self.found(Code::DuplicateEndpoint, message, &path);
                found.help = Some("give it a `weight` instead".into());
            }
        }
    }

    /// A request would go round until every connection is used up.
    fn own_listener(&mut self, name: &str, path: &[Step], endpoint: &EndpointSettings) {
        let ours = listeners(self.file);
        let address = match (&*endpoint.host, endpoint.host.parse::<std::net::IpAddr>()) {
            (_, Ok(address)) => address.to_canonical(),
            ("localhost", _) => std::net::Ipv4Addr::LOCALHOST.into(),
            _ => return,
        };
        let reaches = |listener: &crate::server::ListenerSettings| {
            let Some(at) = listener.address.tcp() else { return false };
            let ip = at.ip().to_canonical();
            let local = address.is_loopback() || address.is_unspecified();
            at.port() == endpoint.port
                && (ip == address
                    || ip.is_unspecified() && local
                    || &*endpoint.host == "localhost" && ip.is_loopback())
        };
        let Some(index) = ours.iter().position(reaches) else { return };
        let listener = self.place(&super::listeners::listener_path(self.file, index));
        let place = self.place(path);
        let message = format!("upstream `{name}` is this proxy itself: requests would go round in circles");
        self.push(
            Finding::new(Code::Loop, message)
                .at(place)
                .related(listener, "we listen here")
                .help("listen on another port, or forward to another one"),
        );
    }
}

fn endpoint_path(name: &str, upstream: &Upstream, index: usize) -> Vec<Step> {
    if upstream.url.is_some() && index == 0 {
        return upstream_path(name, "url");
    }
    let mut path = upstream_path(name, "endpoints");
    path.push((index - usize::from(upstream.url.is_some())).into());
    path
}
