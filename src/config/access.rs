//! Who is served: networks, and files of them, from the config's words.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::codes::Code;
use super::compile::{Compiler, read_bounded};
use super::file::{OneOrMany, Route};
use super::finding::Finding;
use super::scalar::{Network, Problem, Scalar};
use super::tree::Step;
use crate::pipeline::access::{Access, Networks};

/// A network, or a file of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// One.
    Network(IpNet),
    /// As many as stand there, one in a line.
    File(PathBuf),
}

impl Scalar for Clients {
    const FORMAT: &'static str = "clients";
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\", or \"file:PATH\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.strip_prefix("file:") {
            Some(path) if path.is_empty() || path.contains('\0') => {
                Err(Problem::new(Code::Empty, "this names no file", "write \"file:blocked.txt\""))
            }
            Some(path) => Ok(Self::File(path.into())),
            None => Network::parse(text).map(|network| Self::Network(network.0)),
        }
    }
}

impl Compiler<'_> {
    /// Whom a route serves; `None`: everyone.
    pub(super) fn access(&mut self, index: usize, route: &Route) -> Option<Access> {
        let at = |key: &str| -> [Step; 3] { ["routes".into(), index.into(), key.into()] };
        if route.allow.is_none() && route.deny.is_none() {
            return None;
        }
        let allow = route.allow.as_ref().map(|clients| self.networks(clients, &at("allow")));
        let deny = route.deny.as_ref().map(|clients| self.networks(clients, &at("deny")));
        Some(Access { allow, deny: deny.unwrap_or_default() })
    }

    fn networks(&mut self, clients: &OneOrMany<Clients>, at: &[Step]) -> Networks {
        let mut networks = Vec::new();
        for clients in clients.as_slice() {
            match clients {
                Clients::Network(network) => networks.push(*network),
                Clients::File(path) => networks.extend(self.networks_in(&self.directory.join(path), at)),
            }
        }
        Networks::new(networks)
    }

    /// The networks of a file; none where it is told what is wrong with it.
    fn networks_in(&mut self, path: &Path, at: &[Step]) -> Vec<IpNet> {
        self.files.push(path.to_owned());
        let read = read_bounded(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let found = match read {
            Ok(text) => lines(&text),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        found.unwrap_or_else(|why| {
            let finding = Finding::new(Code::ClientsFile, format!("`{}` {why}", path.display()));
            let help = "it has a network in each line; what follows `#` is not read";
            self.findings.push(finding.at(self.root.place_of(at)).help(help));
            Vec::new()
        })
    }
}

/// A network in each line; or which line has none.
fn lines(text: &str) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let network =
                Network::parse(line).map_err(|problem| format!("line {}: {}", at + 1, problem.message))?;
            networks.push(network.0);
        }
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_network_in_each_line() {
        let found = lines("# office\n10.0.0.0/8\n\n  192.0.2.1 # one\r\n2001:db8::/32").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].to_string(), "192.0.2.1/32");
        assert!(lines("10.0.0.0/8\nx").unwrap_err().starts_with("line 2: "));
        assert!(lines("10.0.0.1/8").is_err());
    }
}
