//! Listeners that get in each other's way, and addresses that this machine does not give.

use std::io;
use std::net::SocketAddr;

use super::Checks;
use crate::config::codes::Code;
use crate::config::compile::listeners;
use crate::config::file::{File, Listen, OneOrMany};
use crate::config::finding::Finding;
use crate::config::tree::{Node, Step};
use crate::server::ListenAddress;
use crate::server::ListenerSettings;

/// Where the listener of an index stands.
pub fn listener_path(file: &File, index: usize) -> Vec<Step> {
    let mut path = vec![Step::from("listen")];
    let listen = match &file.listen {
        Some(OneOrMany::Many(many)) => {
            path.push(index.into());
            many.get(index)
        }
        Some(OneOrMany::One(one)) => Some(one),
        None => None,
    };
    if matches!(listen, Some(Listen::Table(_))) {
        path.push("addr".into());
    }
    path
}

impl Checks<'_> {
    pub(super) fn listeners(&mut self) {
        let ours = listeners(self.file);
        if ours.is_empty() && !self.damaged(&["listen".into()]) {
            let found = self.found(Code::Empty, "there is no listener", &["listen".into()]);
            found.help = Some("add an address such as \"127.0.0.1:8080\"".into());
        }
        let mut seen: Vec<(ListenAddress, Vec<Step>)> = Vec::new();
        for (index, listener) in ours.iter().enumerate() {
            let path = listener_path(self.file, index);
            self.collision(&seen, &listener.address, &path);
            self.listener_table(index, &listener.address);
            seen.push((listener.address.clone(), path));
        }
        if let Some(address) = self.file.telemetry.listen {
            let path = ["telemetry".into(), "listen".into()];
            self.collision(&seen, &ListenAddress::Tcp(address.0), &path);
            self.public_telemetry(address.0, &path);
        }
    }

    /// What only some listeners can have, and an empty list of balancers, which would be no list at all.
    fn listener_table(&mut self, index: usize, address: &ListenAddress) {
        let table = match &self.file.listen {
            Some(OneOrMany::One(Listen::Table(table))) => table,
            Some(OneOrMany::Many(many)) => match many.get(index) {
                Some(Listen::Table(table)) => table,
                _ => return,
            },
            _ => return,
        };
        let mut path = listener_path(self.file, index);
        path.pop();
        let place = |key: &'static str| [path.as_slice(), &[Step::from(key)]].concat();
        if table.mode.is_some() && !matches!(address, ListenAddress::Unix(_)) {
            let message = format!("`{address}` is not a Unix socket, and only such a one has a mode");
            let found = self.found(Code::ExclusiveKeys, message, &place("mode"));
            found.help = Some("leave it out, or listen on \"unix:/run/api.sock\"".into());
        }
        if matches!(&table.proxy_protocol, Some(OneOrMany::Many(many)) if many.is_empty()) {
            let message = "no network is named: every connection would be refused, or none believed";
            let found = self.found(Code::Empty, message, &place("proxy_protocol"));
            found.help = Some("name the balancers, such as \"10.0.0.0/8\", or leave it out".into());
        }
    }

    fn collision(&mut self, seen: &[(ListenAddress, Vec<Step>)], address: &ListenAddress, path: &[Step]) {
        let clash = |(other, _): &&(ListenAddress, Vec<Step>)| match (other.tcp(), address.tcp()) {
            (Some(other), Some(address)) => covers(other, address) || covers(address, other),
            _ => other == address,
        };
        let Some((other, other_path)) = seen.iter().find(clash) else { return };
        let finding = if other == address {
            Finding::new(Code::DuplicateListener, format!("`{address}` is listened on twice"))
        } else {
            let message =
                format!("`{address}` and `{other}` overlap: one of them takes every address of that port");
            Finding::new(Code::OverlappingListener, message).help("keep the wider one, or use another port")
        };
        let related = self.place(other_path);
        let place = self.place(path);
        self.push(finding.at(place).related(related, "the other one"));
    }

    fn public_telemetry(&mut self, address: SocketAddr, path: &[Step]) {
        if address.ip().to_canonical().is_loopback() {
            return;
        }
        let message = format!("metrics on `{address}` can be read by everyone who reaches it");
        let found = self.found(Code::PublicTelemetry, message, path);
        found.help = Some("listen on 127.0.0.1, or make sure that a firewall stands before it".into());
    }
}

/// Whether a socket on `wide` takes what comes in for `address`. Port 0 is a new port each time.
fn covers(wide: SocketAddr, address: SocketAddr) -> bool {
    if wide.port() != address.port() || wide.port() == 0 {
        return false;
    }
    match wide {
        _ if wide.ip() == address.ip() => true,
        SocketAddr::V6(_) => wide.ip().is_unspecified(),
        SocketAddr::V4(_) => wide.ip().is_unspecified() && address.ip().to_canonical().is_ipv4(),
    }
}

/// Asks of every address whether it can be had; `probe` knows which ones our own running instance holds.
pub fn unbindable(
    root: &Node,
    listeners: &[ListenerSettings],
    telemetry: Option<SocketAddr>,
    probe: &dyn Fn(&ListenerSettings) -> io::Result<()>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ask = |settings: &ListenerSettings, path: &[Step]| {
        let Err(error) = probe(settings) else { return };
        let address = &settings.address;
        let message = format!("cannot listen on `{address}`: {}", reason(&error));
        let finding = Finding::new(Code::CannotBind, message).at(root.place_of(path));
        findings.push(match error.kind() {
            io::ErrorKind::AddrInUse => match address.tcp() {
                Some(at) => finding.help(format!("see who holds it: `ss -ltnp 'sport = :{}'`", at.port())),
                None => finding.help("see who holds it: `ss -lxp`"),
            },
            io::ErrorKind::AlreadyExists => finding.help("use another path: it is not ours to remove"),
            io::ErrorKind::NotFound => finding.help("make its directory first"),
            io::ErrorKind::PermissionDenied => {
                finding.help("ports below 1024 need a privilege: use a higher one, or CAP_NET_BIND_SERVICE")
            }
            io::ErrorKind::AddrNotAvailable => finding.help("no interface of this machine has this address"),
            _ => finding,
        });
    };
    let many = root.get("listen").is_some_and(|node| !node.items().is_empty());
    for (index, settings) in listeners.iter().enumerate() {
        // What will be handed over to the instance is not handed to this process.
        if matches!(settings.address, ListenAddress::Inherited(_)) {
            continue;
        }
        let mut path = vec![Step::from("listen")];
        if many {
            path.push(index.into());
        }
        path.push("addr".into());
        ask(settings, &path);
    }
    if let Some(address) = telemetry {
        ask(&ListenerSettings::at(address), &["telemetry".into(), "listen".into()]);
    }
    findings
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".into(),
        io::ErrorKind::AlreadyExists => "something that is no socket stands there".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_addresses_cover_narrow_ones() {
        let table = [
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (wide, address, expected) in table {
            assert_eq!(covers(wide.parse().unwrap(), address.parse().unwrap()), expected, "{wide} {address}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_is_told_at_its_place() {
        let text = "upstream = 'http://a'\nlisten = ['127.0.0.1:81', { addr = '127.0.0.1:82' }]\n\
                    telemetry = { listen = '127.0.0.1:83' }\n";
        let source = crate::config::Source::Text { name: "t.toml".into(), text: text.into() };
        let loaded = crate::config::lint(&source, None);
        let compiled = loaded.compiled.expect("is good");
        let probe = |listener: &ListenerSettings| match listener.address.tcp().map_or(0, |at| at.port()) {
            81 => Ok(()),
            82 => Err(io::ErrorKind::AddrInUse.into()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        };
        let findings = unbindable(&loaded.tree, &compiled.listeners, compiled.telemetry.listen, &probe);
        let starts: Vec<_> = findings
            .iter()
            .filter_map(|finding| finding.place.as_ref())
            .map(|place| (place.start().line, place.start().column))
            .collect();
        assert_eq!(starts, [(2, 36), (3, 24)]);
        assert!(findings.iter().all(|finding| finding.code == Code::CannotBind && finding.help.is_some()));
    }

    #[test]
    fn what_makes_no_sense_of_a_listener_is_told() {
        let cases = [
            ("{ addr = ':80', mode = '0600' }", "PS0111 not a Unix socket"),
            ("{ addr = ':80', proxy_protocol = [] }", "PS0112 no network"),
            ("['unix:/run/a.sock', { addr = 'unix:/run/a.sock', mode = '0666' }]", "PS0403 twice"),
        ];
        for (listen, wanted) in cases {
            let text = format!("upstream = 'http://a'\nlisten = {listen}\n");
            let source = crate::config::Source::Text { name: "t.toml".into(), text };
            let findings = crate::config::lint(&source, None).findings;
            let (code, words) = wanted.split_once(' ').expect("two parts");
            let [finding] = &findings[..] else { panic!("{listen}: {findings:?}") };
            assert!(finding.message.contains(words), "{listen}: {}", finding.message);
            assert_eq!(finding.code.as_str(), code, "{listen}");
        }
    }
}
