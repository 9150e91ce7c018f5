//! From `[tls.NAME]` to settings, and what its files say about it.

use std::path::Path;

use super::codes::Code;
use super::compile::Compiler;
use super::file::{ClientCertificates, File, Hsts, Listen, OneOrMany, Tls, TlsProfile, Verify};
use super::finding::Finding;
use super::scalar::{FilePath, PositiveTime, Time};
use super::server_name::ServerName;
use super::tree::Step;
use crate::clock::Clock;
use crate::route::HostPattern;
use crate::tls::{self, At, CertificateFiles, ClientAuth, Error, Fault, Inspection, Material, NamePattern};

impl Compiler<'_> {
    /// Every `[tls.NAME]`, with what is wrong with its files.
    pub(super) fn tls(&mut self, file: &File) -> Vec<tls::Settings> {
        let mut all = Vec::new();
        let mut names = Vec::new();
        for (name, from) in &file.tls.0 {
            let settings = settings(name, from, self.directory);
            self.files.extend(settings.files());
            let inspection = tls::inspect(&settings);
            // Without a certificate the model's own checks have said so.
            let whole = |fault: &&Fault| fault.at != At::Whole || !settings.certificates.is_empty();
            for fault in inspection.faults.iter().filter(whole) {
                let finding = self.fault(name, from, fault);
                self.findings.push(finding);
            }
            self.materials(name, from, &inspection);
            names.extend(
                inspection.certificates.iter().flat_map(|(_, material)| material.leaf.server_names()),
            );
            if inspection.faults.is_empty() {
                self.names(name, from, &inspection);
            }
            all.push(settings);
        }
        let broken = super::finding::count(self.findings).0 > 0;
        if !broken {
            self.hosts(file, &names);
        }
        all
    }

    fn fault(&self, name: &str, from: &Tls, fault: &Fault) -> Finding {
        let path = match fault.at {
            At::Certificate(index) => certificate_path(name, from, index, "cert"),
            At::Key(index) => certificate_path(name, from, index, "key"),
            At::Staple(index) => certificate_path(name, from, index, "ocsp"),
            At::Authorities(of) => client_path(name, from, of, "ca"),
            At::Revoked(of) => client_path(name, from, of, "crl"),
            At::Whole => vec!["tls".into(), name.into()],
        };
        let (code, help) = match &fault.error {
            Error::Unreadable { .. } => (Code::CertificateUnreadable, "check its path and permissions"),
            Error::Mismatch { .. } => (
                Code::KeyMismatch,
                "the first certificate of the file must be the key's own; was one of them replaced?",
            ),
            Error::Malformed { .. } | Error::Settings(_) => (
                Code::CertificateInvalid,
                match fault.at {
                    At::Staple(_) => "`openssl ocsp ... -respout FILE` writes one",
                    At::Authorities(_) | At::Certificate(_) => {
                        "it holds blocks that begin with `-----BEGIN CERTIFICATE-----`"
                    }
                    At::Key(_) => "`openssl pkey -in FILE` shows what it holds, and decrypts it",
                    At::Revoked(_) | At::Whole => "check what wrote it",
                },
            ),
        };
        Finding::new(code, fault.error.to_string()).at(self.root.place_of(&path)).help(help)
    }

    fn warn(&mut self, code: Code, message: String, help: &str, path: &[Step]) {
        self.findings.push(Finding::new(code, message).at(self.root.place_of(path)).help(help));
    }

    /// What certificates that can be used still leave to be wished for.
    fn materials(&mut self, name: &str, from: &Tls, inspection: &Inspection) {
        let now = Clock::System.now();
        for (index, material) in &inspection.certificates {
            let (leaf, at) = (&material.leaf, |key: &str| certificate_path(name, from, *index, key));
            let file = material.files.cert.display();
            let days = leaf.not_after.since(now).as_secs() / 86_400;
            if leaf.not_after < now {
                let message = format!("the certificate `{file}` has expired: clients will refuse it");
                self.warn(
                    Code::CertificateExpired,
                    message,
                    "renew it; a running instance takes over the new file",
                    &at("cert"),
                );
            } else if leaf.not_before > now {
                let message = format!("the certificate `{file}` is not valid yet: clients will refuse it");
                self.warn(
                    Code::CertificateExpired,
                    message,
                    "check the clock of this machine, or wait",
                    &at("cert"),
                );
            } else if leaf.ends_soon(now) {
                let message = format!("the certificate `{file}` expires in {days} days");
                self.warn(
                    Code::CertificateEndsSoon,
                    message,
                    "renew it; a running instance takes over the new file",
                    &at("cert"),
                );
            }
            if material.broken_chain {
                let message = format!("`{file}` holds a certificate that did not sign the one before it");
                let help = "put the server's own first, then the one that signed it, and so on";
                self.warn(Code::ChainOrder, message, help, &at("cert"));
            }
            if material.exposed {
                let key = material.files.key.display();
                let message = format!("everyone on this machine can read the private key `{key}`");
                let help = format!("`chmod 600 {key}`, and a new key if others may have read it");
                self.warn(Code::KeyExposed, message, &help, &at("key"));
            }
            if let Some(staple) = material.staple.as_ref().filter(|staple| !staple.holds_at(now)) {
                let state = staple.state(now);
                let message = format!("the OCSP response is not sent: it is {state}");
                self.warn(
                    Code::StapleUnusable,
                    message,
                    "fetch a new one from the certificate's authority",
                    &at("ocsp"),
                );
            }
        }
        self.duplicates(name, from, &inspection.certificates);
    }

    /// Of two certificates of a kind for one name, the second is never used for it.
    fn duplicates(&mut self, name: &str, from: &Tls, certificates: &[(usize, Material)]) {
        for (at, (index, material)) in certificates.iter().enumerate() {
            let twin = |other: &&(usize, Material)| {
                let own: Vec<_> = material.leaf.server_names().collect();
                other.1.leaf.key == material.leaf.key
                    && !own.is_empty()
                    && own.iter().all(|name| other.1.leaf.server_names().any(|other| other == *name))
            };
            let Some((first, _)) = certificates[..at].iter().find(twin) else { continue };
            let kind = material.leaf.key.as_str();
            let message = format!(
                "`{}` is never used: an earlier certificate has the same names and a key of the same kind ({kind})",
                material.files.cert.display()
            );
            let related = self.root.place_of(&certificate_path(name, from, *first, "cert"));
            let place = self.root.place_of(&certificate_path(name, from, *index, "cert"));
            let finding = Finding::new(Code::DuplicateCertificate, message)
                .at(place)
                .related(related, "the earlier one");
            self.findings.push(finding.help("leave one of them out"));
        }
    }

    /// Names of which something is said should be names of a certificate.
    fn names(&mut self, name: &str, from: &Tls, inspection: &Inspection) {
        let known: Vec<_> =
            inspection.certificates.iter().flat_map(|(_, material)| material.leaf.server_names()).collect();
        for (given, _) in &from.names.0 {
            let Some(pattern) = NamePattern::parse(given) else { continue };
            if !known.iter().any(|known| known.covers(&pattern) || pattern.covers(known)) {
                let message = format!("no certificate of `tls.{name}` is for `{given}`");
                let path = ["tls".into(), name.into(), "names".into(), given.as_str().into()];
                self.warn(Code::NameNotCovered, message, &listed(&known), &path);
            }
        }
    }

    /// Hosts that are routed, but that nobody reaches who looks at certificates.
    fn hosts(&mut self, file: &File, known: &[NamePattern]) {
        let tables: Vec<_> = listens(file).collect();
        let secured = |listen: &&Listen| matches!(listen, Listen::Table(table) if table.tls.is_some() || table.https_redirect.is_some());
        if tables.is_empty() || !tables.iter().all(secured) {
            return;
        }
        for (index, route) in file.routes.iter().enumerate() {
            let hosts = match &route.matching.host {
                None => continue,
                Some(OneOrMany::One(host)) => vec![host],
                Some(OneOrMany::Many(hosts)) => hosts.iter().collect(),
            };
            for host in hosts {
                let covered = match &host.0 {
                    HostPattern::Exact(name) => {
                        name.parse::<std::net::IpAddr>().is_ok()
                            || name.starts_with('[')
                            || known.iter().any(|known| known.takes(name))
                    }
                    HostPattern::Wildcard(suffix) => known.iter().any(|known| match known {
                        NamePattern::Exact(name) => name.ends_with(&**suffix),
                        NamePattern::Wildcard(other) => other.ends_with(&**suffix),
                    }),
                };
                if !covered {
                    let message =
                        format!("no certificate is for the host `{}`, and every listener speaks TLS", host.0);
                    let path = ["routes".into(), index.into(), "match".into(), "host".into()];
                    self.warn(Code::NameNotCovered, message, &listed(known), &path);
                }
            }
        }
    }
}

fn listed(known: &[NamePattern]) -> String {
    let mut names: Vec<_> = known.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => "the certificates have no names of servers at all".into(),
        false => format!("the certificates are for {}", names.join(", ")),
    }
}

/// All that is listened on.
pub fn listens(file: &File) -> impl Iterator<Item = &Listen> {
    file.listen.iter().flat_map(|listen| match listen {
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many.as_slice(),
    })
}

/// Where something of the certificate at this position stands.
fn certificate_path(name: &str, from: &Tls, index: usize, key: &str) -> Vec<Step> {
    let own = usize::from(from.cert.is_some());
    let mut path: Vec<Step> = vec!["tls".into(), name.into()];
    if index >= own {
        path.extend(["certificates".into(), (index - own).into()]);
    }
    path.push(key.into());
    path
}

fn client_path(name: &str, from: &Tls, of: Option<usize>, key: &str) -> Vec<Step> {
    let mut path: Vec<Step> = vec!["tls".into(), name.into()];
    if let Some((given, _)) = of.and_then(|of| from.names.0.get(of)) {
        path.extend(["names".into(), given.as_str().into()]);
    }
    path.extend(["client".into(), key.into()]);
    path
}

fn settings(name: &str, from: &Tls, directory: &Path) -> tls::Settings {
    let join = |FilePath(path): &FilePath| directory.join(path);
    let mut settings = tls::Settings::new(name);
    if let (Some(cert), Some(key)) = (&from.cert, &from.key) {
        let ocsp = from.ocsp.as_ref().map(join);
        settings.certificates.push(CertificateFiles { cert: join(cert), key: join(key), ocsp });
    }
    settings.certificates.extend(from.certificates.iter().map(|entry| CertificateFiles {
        cert: join(&entry.cert),
        key: join(&entry.key),
        ocsp: entry.ocsp.as_ref().map(join),
    }));
    if from.profile == Some(TlsProfile::Modern) {
        settings.profile = tls::Profile::Modern;
    }
    settings.http2 = from.http2.unwrap_or(true);
    settings.strict_sni = from.strict_sni.unwrap_or_default();
    if let Some(PositiveTime(limit)) = from.handshake_timeout {
        settings.handshake_timeout = limit;
    }
    if let Some(Time(rotation)) = from.ticket_rotation {
        settings.ticket_rotation = Some(rotation).filter(|rotation| !rotation.is_zero());
    }
    settings.hsts = from.hsts.as_ref().map(hsts);
    settings.client = client(&from.client, directory);
    let named = |(name, of): &(String, super::file::TlsName)| {
        let ServerName(pattern) = <ServerName as super::scalar::Scalar>::parse(name).ok()?;
        Some((pattern, client(&of.client, directory)))
    };
    settings.names = from.names.0.iter().filter_map(named).collect();
    settings
}

fn hsts(from: &Hsts) -> tls::Hsts {
    match from {
        Hsts::MaxAge(Time(max_age)) => {
            tls::Hsts { max_age: *max_age, include_subdomains: false, preload: false }
        }
        Hsts::Table(table) => tls::Hsts {
            max_age: table.max_age.0,
            include_subdomains: table.include_subdomains,
            preload: table.preload,
        },
    }
}

fn client(from: &ClientCertificates, directory: &Path) -> ClientAuth {
    fn all<T>(values: &Option<OneOrMany<T>>) -> &[T] {
        match values {
            None => &[],
            Some(OneOrMany::One(one)) => std::slice::from_ref(one),
            Some(OneOrMany::Many(many)) => many,
        }
    }
    ClientAuth {
        verify: match from.verify {
            None | Some(Verify::Off) => tls::Verify::Off,
            Some(Verify::Optional) => tls::Verify::Optional,
            Some(Verify::Required) => tls::Verify::Required,
        },
        ca: from.ca.as_ref().map(|FilePath(path)| directory.join(path)),
        crl: all(&from.crl).iter().map(|FilePath(path)| directory.join(path)).collect(),
        allow: all(&from.allow).iter().map(|name| name.0.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::{Source, lint};

    /// A directory with certificates: `a` (a.test), `b` (*.b.test), `old` (expired), each with its key.
    fn files() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, host, until) in [("a", "a.test", 2100), ("b", "*.b.test", 2100), ("old", "old.test", 2001)]
        {
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            let key = KeyPair::generate().unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem())
                .unwrap();
            let path = dir.path().join(format!("{name}.key"));
            std::fs::write(&path, key.serialize_pem()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(dir.path().join("junk"), "junk").unwrap();
        dir
    }

    /// The findings of a config in that directory, each as code and first line and column.
    fn found(dir: &Path, text: &str) -> Vec<String> {
        let file = dir.join("c.toml");
        std::fs::write(&file, format!("upstream = 'http://127.0.0.1:9'\n{text}")).unwrap();
        let findings = lint(&Source::File(file), None).findings;
        assert!(findings.iter().all(|finding| finding.place.is_some()), "{findings:?}");
        findings.iter().map(|finding| finding.code.to_string()).collect()
    }

    const LISTEN: &str = "listen = [{ addr = '127.0.0.1:1', tls = 'e' }]\n";

    #[test]
    fn what_files_say_is_told() {
        let dir = files();
        let cases = [
            ("[tls.e]\ncert = 'a.pem'\nkey = 'a.key'", &[][..]),
            ("[tls.e]\ncert = 'a.pem'\nkey = 'b.key'", &["PS0507"]),
            ("[tls.e]\ncert = 'none.pem'\nkey = 'a.key'", &["PS0505"]),
            ("[tls.e]\ncert = 'none.pem'\nkey = 'none.key'", &["PS0505", "PS0505"]),
            ("[tls.e]\ncert = 'junk'\nkey = 'a.key'", &["PS0506"]),
            ("[tls.e]\ncert = 'a.pem'\nkey = 'junk'", &["PS0506"]),
            ("[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\nocsp = 'junk'", &["PS0506"]),
            (
                "[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\nclient = { verify = 'required', ca = 'junk' }",
                &["PS0506"],
            ),
            ("[tls.e]\ncert = 'old.pem'\nkey = 'old.key'", &["PS0509"]),
            (
                "[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\ncertificates = [{ cert = 'a.pem', key = 'a.key' }]",
                &["PS0451"],
            ),
            ("[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\n[tls.e.names.'c.test']", &["PS0450"]),
            ("[tls.e]\ncert = 'b.pem'\nkey = 'b.key'\n[tls.e.names.'c.b.test']", &[]),
            ("[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\n[[routes]]\nmatch = { host = 'c.test' }", &["PS0450"]),
        ];
        for (text, codes) in cases {
            assert_eq!(found(dir.path(), &format!("{LISTEN}{text}\n")), codes, "{text}");
        }
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(dir.path().join("a.key"), open).unwrap();
        let text = format!("{LISTEN}[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\n");
        assert_eq!(found(dir.path(), &text), ["PS0508"]);
    }

    #[test]
    fn what_the_config_says_of_tls_must_fit_together() {
        let dir = files();
        let edge = "[tls.e]\ncert = 'a.pem'\nkey = 'a.key'\n";
        let cases = [
            (format!("{LISTEN}[tls.f]\ncert = 'a.pem'\nkey = 'a.key'\n"), &["PS0320"][..]),
            (edge.to_owned(), &["PS0321"]),
            (format!("{LISTEN}[tls.e]\nprofile = 'modern'\n"), &["PS0105"]),
            (format!("{LISTEN}[tls.e]\ncert = 'a.pem'\n"), &["PS0105"]),
            (format!("{LISTEN}{edge}client = {{ verify = 'required' }}\n"), &["PS0105"]),
            (format!("{LISTEN}{edge}client = {{ ca = 'a.pem' }}\n"), &["PS0411"]),
            (
                format!("{LISTEN}{edge}client = {{ verify = 'optional', ca = 'a.pem', allow = 'a.test' }}\n"),
                &["PS0222"],
            ),
            (format!("{LISTEN}{edge}ticket_rotation = '30d'\n"), &["PS0107"]),
            (format!("{LISTEN}{edge}hsts = {{ max_age = '1d', preload = true }}\n"), &["PS0411"]),
            (format!("{LISTEN}{edge}[tls.e.names.'10.0.0.1']\n"), &["PS0221"]),
            ("listen = [{ addr = '127.0.0.1:1', https_redirect = true }]\n".to_owned(), &["PS0453"]),
            ("listen = [{ addr = '127.0.0.1:1', https_redirect = { port = 443 } }]\n".to_owned(), &[]),
            (
                format!(
                    "listen = ['127.0.0.1:2', {{ addr = '127.0.0.1:1', tls = 'e' }}]\n{edge}client = {{ verify = 'required', ca = 'a.pem' }}\n"
                ),
                &["PS0452"],
            ),
            (format!("client_cert_headers = {{ host = 'dns' }}\n{LISTEN}{edge}"), &["PS0207"]),
            (format!("{LISTEN}{edge}[[routes]]\nmatch = {{ client_cert = true }}\n"), &["PS0411"]),
        ];
        for (text, codes) in cases {
            assert_eq!(found(dir.path(), &text), codes, "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_to_the_first_listener_with_tls() {
        let text = "upstream = 'http://a'\nlisten = [{ addr = ':80', https_redirect = true }, { addr = ':8443', tls = 'e' }]\n\
                    [tls.e]\n";
        let root = crate::config::finding::SourceText::new("t.toml", text);
        let (mut root, _) = crate::config::tree::parse(&root);
        crate::config::expand::expand(&mut root);
        let file: File = serde_json::from_value(root.to_json()).unwrap();
        let redirect = crate::config::compile::listeners(&file)[0].redirect.unwrap();
        assert_eq!((redirect.status.as_u16(), redirect.port), (308, 8443));
    }
}
