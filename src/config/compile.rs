//! From the model to each room's settings. What only the file system can tell (certificates, directories) is
//! asked here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::Compiled;
use super::certificates::listens;
use super::codes::Code;
use super::file::{
    AccessLog, Cache, CertificateFact, ClientCertRule, Endpoint, FieldRule, File, Http2, Lifetime, Listen,
    LogFormat, LogWord, Match, Mode, OneOrMany, Policy, Protocol, Purge, PurgeMethod, Route, SchemeName,
    Upstream,
};
use super::finding::Finding;
use super::keyed::key_settings;
use super::lifetime;
use super::limits;
use super::provenance::Provenance;
use super::scalar::{CacheText, FieldName, FilePath, Network, PositiveTime, Size, Time, Upgradable, Verb};
use super::secret::SecretRef;
use super::substitute::Environment;
use super::tokens::Trusts;
use super::tree::{Node, Step};
use crate::cache::policy::Rules;
use crate::http::{HttpsRedirect, Scheme};
use crate::pipeline::settings::{PurgeSettings, Token, UpgradeSettings};
use crate::pipeline::{CacheSettings, RouteSettings};
use crate::route::{ClientMatch, FieldMatch, MatchSpec};
use crate::server::ListenerSettings;
use crate::server::settings::SOCKET_MODE;
use crate::tls::Fact;
use crate::upstream::settings::{EndpointSettings, HostPolicy};
use crate::{cache, pipeline, server, telemetry, upstream};

/// The longest target where nobody says.
const DEFAULT_MAX_TARGET: usize = 64 << 10;

/// Everything that compiling needs beside the model.
pub struct Compiler<'a> {
    /// The effective tree, for places.
    pub root: &'a Node,
    /// Relative paths start here.
    pub directory: &'a Path,
    /// Where secrets may be.
    pub env: Environment<'a>,
    /// What was found.
    pub findings: &'a mut Vec<Finding>,
    /// Files that were read.
    pub files: &'a mut Vec<PathBuf>,
}

impl Compiler<'_> {
    /// Settings for every room. With findings that are errors they are incomplete and must not be used.
    pub fn compile(&mut self, file: &File) -> Compiled {
        let trusts = self.trusts(file);
        Compiled {
            tls: self.tls(file),
            listeners: listeners(file),
            server: server_settings(file),
            workers: file.workers.unwrap_or_default().into(),
            upstreams: file.upstreams.0.iter().filter_map(|(name, up)| self.upstream(name, up)).collect(),
            pipeline: self.pipeline(file, &trusts),
            cache: cache_settings(file),
            telemetry: self.telemetry(file),
            provenance: Provenance::of(self.root, file),
        }
    }

    fn upstream(&mut self, name: &str, upstream: &Upstream) -> Option<upstream::Settings> {
        let urls = endpoints(upstream);
        let (first, _) = urls.first()?;
        let mut settings = upstream::Settings::new(name, first.clone());
        settings.base_path = urls.first().map(|(_, base)| base.clone()).unwrap_or_default();
        settings.endpoints = urls.into_iter().map(|(endpoint, _)| endpoint).collect();
        settings.host = upstream.host.as_ref().map_or(HostPolicy::Upstream, |host| host.0.clone());
        settings.ca = self.authorities(name, upstream.ca.as_ref());
        put(&mut settings.protocol, upstream.protocol.map(protocol));
        http2(&mut settings.http2, &upstream.http2);
        put(&mut settings.connect_timeout, upstream.connect_timeout.map(positive));
        put(&mut settings.first_byte_timeout, upstream.first_byte_timeout.map(positive));
        put(&mut settings.idle_timeout, upstream.idle_timeout.map(positive));
        put(&mut settings.max_connections, upstream.max_connections.map(|n| n as usize));
        put(&mut settings.max_pending, upstream.max_pending.map(|n| n as usize));
        put(&mut settings.keepalive, upstream.keepalive.map(time));
        put(&mut settings.retries, upstream.retries);
        Some(settings)
    }

    fn authorities(&mut self, name: &str, ca: Option<&FilePath>) -> Vec<CertificateDer<'static>> {
        let Some(FilePath(path)) = ca else { return Vec::new() };
        let path = self.directory.join(path);
        let at = self.root.place_of(&["upstreams".into(), name.into(), "ca".into()]);
        self.files.push(path.clone());
        let pem = match read_bounded(&path) {
            Ok(pem) => pem,
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                self.findings.push(Finding::new(Code::CaUnreadable, message).at(at));
                return Vec::new();
            }
        };
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let why = match found {
            Ok(certificates) if !certificates.is_empty() => match unusable(&certificates) {
                None => return certificates,
                Some(error) => error,
            },
            Ok(_) => "it holds no certificate".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("`{}` is not a file of certificate authorities: {why}", path.display());
        let help = "it holds blocks that begin with `-----BEGIN CERTIFICATE-----`";
        self.findings.push(Finding::new(Code::CaInvalid, message).at(at).help(help));
        Vec::new()
    }

    fn pipeline(&mut self, file: &File, trusts: &Trusts) -> pipeline::Settings {
        let basic = self.basic_auth_for_all(file.basic_auth.as_ref());
        let routes = file.routes.iter().enumerate();
        let routes = routes.map(|(index, route)| {
            let local = self.local(index, route);
            RouteSettings {
                basic: self.basic_auth(index, route, basic.as_ref()),
                access: self.access(index, route),
                local,
                ..route_settings(file, index, route, trusts)
            }
        });
        pipeline::Settings {
            routes: routes.collect(),
            trusted: file.trusted_proxies.iter().map(|network| network.0).collect(),
            name: name(file),
            identity: identity(file),
            mode: file.mode.map(mode),
            purge: self.purge(&file.purge),
            max_tunnels: file.server.max_tunnels.map(|n| n as usize),
            limits: limits::limits(file),
            max_target: file.server.max_target.map_or(DEFAULT_MAX_TARGET, |size| bytes(size) as usize),
            max_fields: file
                .server
                .max_headers
                .map_or(server::Settings::default().max_headers, |n| n as usize),
        }
    }

    /// Who may purge by a request; nobody, where the config does not say.
    fn purge(&mut self, from: &Purge) -> Option<PurgeSettings> {
        let token =
            from.token.as_ref().and_then(|token| self.secret(token, &["purge".into(), "token".into()]));
        if from.allow.is_empty() && token.is_none() {
            return None;
        }
        let takes = |method| from.methods.as_ref().is_none_or(|methods| methods.contains(&method));
        Some(PurgeSettings {
            purge: takes(PurgeMethod::Purge),
            ban: takes(PurgeMethod::Ban),
            allow: from.allow.iter().map(|network| network.0).collect(),
            token: token.as_deref().map(Token::of),
            soft: from.soft.unwrap_or_default(),
        })
    }

    pub(super) fn secret(&mut self, secret: &SecretRef, at: &[Step]) -> Option<String> {
        self.files.extend(secret.path(self.directory));
        let why = match secret.read(self.directory, self.env) {
            Ok(text) => return Some(text),
            Err(why) => why,
        };
        let finding = Finding::new(Code::SecretUnreadable, format!("there is no such secret: {why}"));
        self.findings.push(finding.at(self.root.place_of(at)));
        None
    }

    fn telemetry(&mut self, file: &File) -> telemetry::Settings {
        let mut settings = telemetry::Settings::default();
        put(&mut settings.ring, file.telemetry.ring.map(|n| n as usize));
        settings.listen = file.telemetry.listen.map(|address| address.0);
        settings.access_log = file.telemetry.access_log.as_ref().and_then(|log| self.access_log(log));
        settings
    }

    fn access_log(&mut self, log: &AccessLog) -> Option<telemetry::settings::AccessLog> {
        use telemetry::settings as to;
        let table = match log {
            AccessLog::Word(LogWord::Off) => return None,
            AccessLog::Word(LogWord::Stderr) => {
                return Some(to::AccessLog { format: to::LogFormat::Text, target: to::LogTarget::Stderr });
            }
            AccessLog::Table(table) => table,
        };
        let format = match table.format {
            Some(LogFormat::Json) => to::LogFormat::Json,
            Some(LogFormat::Text) | None => to::LogFormat::Text,
        };
        let target = match &table.path {
            None => to::LogTarget::Stderr,
            Some(FilePath(path)) => {
                let path = self.directory.join(path);
                self.check_log_directory(&path);
                to::LogTarget::File {
                    path,
                    max_size: table.max_size.map_or(100 << 20, |size| size.0),
                    max_age: table.max_age.map_or(Duration::ZERO, time),
                    keep: table.keep.unwrap_or(7) as usize,
                }
            }
        };
        Some(to::AccessLog { format, target })
    }

    fn check_log_directory(&mut self, path: &Path) {
        let place = ["telemetry".into(), "access_log".into(), "path".into()];
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let problem = match parent {
            _ if path.is_dir() => format!("`{}` is a directory, not a file", path.display()),
            Some(parent) if !parent.is_dir() => format!("there is no directory `{}`", parent.display()),
            _ => return,
        };
        self.findings.push(Finding::new(Code::LogDirectory, problem).at(self.root.place_of(&place)));
    }
}

/// Certificate files are small; a path to something endless must not fill memory.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why TLS could not use these.
fn unusable(certificates: &[CertificateDer<'static>]) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    certificates
        .iter()
        .find_map(|certificate| roots.add(certificate.clone()).err())
        .map(|error| error.to_string())
}

fn put<T>(to: &mut T, from: Option<T>) {
    if let Some(value) = from {
        *to = value;
    }
}

fn protocol(word: Protocol) -> upstream::settings::Protocol {
    match word {
        Protocol::Auto => upstream::settings::Protocol::Auto,
        Protocol::Http1 => upstream::settings::Protocol::Http1,
        Protocol::H2 => upstream::settings::Protocol::Http2,
    }
}

fn http2(settings: &mut upstream::settings::Http2Settings, file: &Http2) {
    put(&mut settings.max_streams, file.max_streams.map(|n| n as usize));
    let window = file.stream_window.map(bytes);
    put(&mut settings.stream_window, window.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)));
    settings.ping_interval = file.ping_interval.map(positive);
    put(&mut settings.ping_timeout, file.ping_timeout.map(positive));
}

fn positive(PositiveTime(time): PositiveTime) -> Duration {
    time
}

fn time(Time(time): Time) -> Duration {
    time
}

fn bytes(Size(bytes): Size) -> u64 {
    bytes
}

fn mode(mode: Mode) -> cache::Mode {
    match mode {
        Mode::Cache => cache::Mode::Cache,
        Mode::Off => cache::Mode::Off,
    }
}

/// Where to listen.
pub fn listeners(file: &File) -> Vec<ListenerSettings> {
    if file.listen.is_none() {
        return vec![ListenerSettings::at(([127, 0, 0, 1], 8080).into())];
    }
    let secured = listens(file).find(|listen| matches!(listen, Listen::Table(table) if table.tls.is_some()));
    let port = secured.and_then(|listen| listen.address().0.tcp()).map_or(443, |address| address.port());
    listens(file).map(|listen| listener(listen, port)).collect()
}

/// `port` is where requests are sent that are to come by TLS.
fn listener(listen: &Listen, port: u16) -> ListenerSettings {
    let table = match listen {
        Listen::Address(_) => None,
        Listen::Table(table) => Some(table),
    };
    let networks: &[Network] = match table.and_then(|table| table.proxy_protocol.as_ref()) {
        None => &[],
        Some(OneOrMany::One(one)) => std::slice::from_ref(one),
        Some(OneOrMany::Many(many)) => many,
    };
    let redirect = table.and_then(|table| table.https_redirect.as_ref()).filter(|redirect| redirect.is_on());
    ListenerSettings {
        address: listen.address().0.clone(),
        mode: table.and_then(|table| table.mode).map_or(SOCKET_MODE, |mode| mode.0),
        proxy_protocol: networks.iter().map(|network| network.0).collect(),
        tls: table.and_then(|table| table.tls.as_ref()).map(|name| name.0.as_str().into()),
        redirect: redirect.map(|redirect| HttpsRedirect {
            status: StatusCode::from_u16(redirect.status()).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            port: redirect.port().unwrap_or(port),
        }),
    }
}

/// What upstreams are told of clients' certificates.
fn identity(file: &File) -> Vec<(HeaderName, Fact)> {
    let fact = |fact: CertificateFact| match fact {
        CertificateFact::Certificate => Fact::Certificate,
        CertificateFact::Subject => Fact::Subject,
        CertificateFact::Issuer => Fact::Issuer,
        CertificateFact::Serial => Fact::Serial,
        CertificateFact::Fingerprint => Fact::Fingerprint,
        CertificateFact::Sans => Fact::Sans,
        CertificateFact::Dns => Fact::Dns,
        CertificateFact::Uri => Fact::Uri,
        CertificateFact::Email => Fact::Email,
    };
    let field = |(name, told): &(String, CertificateFact)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, fact(*told)))
    };
    file.client_cert_headers.0.iter().filter_map(field).collect()
}

/// How this proxy is called in `Via` and `Cache-Status`.
fn name(file: &File) -> Arc<str> {
    file.name.as_ref().map_or_else(|| "proxy-stone".into(), |name| name.0.as_str().into())
}

fn server_settings(file: &File) -> server::Settings {
    let mut settings = server::Settings { name: name(file), ..server::Settings::default() };
    let from = &file.server;
    put(&mut settings.header_timeout, from.header_timeout.map(positive));
    put(&mut settings.keepalive, from.keepalive.map(positive));
    put(&mut settings.max_header_bytes, from.max_header_bytes.map(|size| bytes(size) as usize));
    put(&mut settings.max_headers, from.max_headers.map(|n| n as usize));
    put(&mut settings.max_connections, from.max_connections.map(|n| n as usize));
    put(&mut settings.max_handshakes, from.max_handshakes.map(|n| n as usize));
    settings.max_connections_per_client = from.max_connections_per_client.map(|n| n as usize);
    settings.many_clients = file.trusted_proxies.iter().map(|network| network.0).collect();
    settings.max_requests_per_connection = from.max_requests_per_connection.map(u64::from);
    put(&mut settings.shutdown_grace, from.shutdown_grace.map(time));
    put(&mut settings.drain_delay, from.drain_delay.map(time));
    put(&mut settings.http2.max_streams, from.http2.max_streams);
    put(&mut settings.http2.max_resets, from.http2.max_resets);
    let window = from.http2.stream_window.map(bytes);
    put(&mut settings.http2.stream_window, window.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)));
    settings
}

fn cache_settings(file: &File) -> cache::Settings {
    let mut settings = cache::Settings::default();
    let from = &file.store;
    put(&mut settings.memory, from.memory.map(bytes));
    put(&mut settings.disk, from.disk.map(bytes));
    put(&mut settings.max_entries, from.max_entries);
    put(&mut settings.max_body, from.max_body.map(bytes));
    put(&mut settings.max_variants, from.max_variants.map(|n| n as usize));
    put(&mut settings.min_free, from.min_free.map(bytes));
    put(&mut settings.keep, from.keep.map(time));
    settings.quotas =
        file.routes.iter().enumerate().filter_map(|(at, route)| quota(file, at, route)).collect();
    settings
}

fn quota(file: &File, index: usize, route: &Route) -> Option<cache::Quota> {
    let (_, policy) = route_policy(file, route)?;
    let quota = cache::Quota {
        route: route_name(index, route).into(),
        memory: policy.max_memory.map(bytes),
        disk: policy.max_disk.map(bytes),
    };
    (quota.memory.is_some() || quota.disk.is_some()).then_some(quota)
}

/// Every endpoint with its base path.
pub fn endpoints(upstream: &Upstream) -> Vec<(EndpointSettings, Box<str>)> {
    let single = upstream.url.iter().map(|url| (url.endpoint(), url.base_path.clone()));
    let many = upstream.endpoints.iter().flatten().map(|endpoint| match endpoint {
        Endpoint::Url(url) => (url.endpoint(), url.base_path.clone()),
        Endpoint::Table(table) => {
            let weight = table.weight.unwrap_or(1);
            let settings = EndpointSettings { weight, backup: table.backup, ..table.url.endpoint() };
            (settings, table.url.base_path.clone())
        }
    });
    single.chain(many).collect()
}

fn route_settings(file: &File, index: usize, route: &Route, trusts: &Trusts) -> RouteSettings {
    RouteSettings {
        name: route_name(index, route).into(),
        matcher: match_spec(&route.matching),
        upstream: route.upstream.as_ref().map_or("", |target| &target.0).into(),
        cache: route_cache(file, route, trusts),
        timeout: route.timeout.map(positive),
        request_idle_timeout: route.request_idle_timeout.map_or(Duration::from_secs(60), positive),
        max_request_body: route.max_request_body.map(bytes),
        access: None,
        basic: None,
        cors: super::cors::cors(route),
        local: None,
        upgrade: upgrade_settings(route),
        grpc_web: route.grpc_web,
        rewrite: super::rewrites::rewrite(route),
        edits: super::edits::edits(route),
        min_request_rate: route.min_request_rate.map(bytes),
        allow_methods: route.allow_methods.as_ref().map(|methods| allowed(methods)),
        allow_schemes: schemes(route),
        limits: limits::of_route(file, route),
        compress: super::compression::compression(route),
    }
}

fn upgrade_settings(route: &Route) -> UpgradeSettings {
    let mut settings = UpgradeSettings::default();
    let name = |protocol: &Upgradable| Arc::from(protocol.0.as_str());
    put(
        &mut settings.protocols,
        route.upgrade.as_ref().map(|given| given.as_slice().iter().map(name).collect()),
    );
    put(&mut settings.limits.idle, route.tunnel_idle_timeout.map(positive));
    settings.limits.whole = route.tunnel_timeout.map(positive);
    settings
}

/// The name of a route, given or by its place.
pub fn route_name(index: usize, route: &Route) -> String {
    route.name.as_ref().map_or_else(|| format!("route-{}", index + 1), |name| name.0.clone())
}

/// A route's match as `route` reads it.
pub fn match_spec(from: &Match) -> MatchSpec {
    fn all<T, U>(values: &Option<OneOrMany<T>>, get: impl Fn(&T) -> U) -> Vec<U> {
        match values {
            None => Vec::new(),
            Some(OneOrMany::One(one)) => vec![get(one)],
            Some(OneOrMany::Many(many)) => many.iter().map(get).collect(),
        }
    }
    MatchSpec {
        hosts: all(&from.host, |host| host.0.clone()),
        paths: all(&from.path, |path| path.0.clone()),
        methods: all(&from.methods, |verb| verb.0.clone()),
        headers: from.headers.0.iter().filter_map(field_match).collect(),
        query: from.query.0.iter().map(|(name, value)| (name.as_str().into(), rule(value))).collect(),
        client: from.client_cert.as_ref().map(client_match),
    }
}

fn client_match(rule: &ClientCertRule) -> ClientMatch {
    match rule {
        ClientCertRule::Presence(true) => ClientMatch::Present,
        ClientCertRule::Presence(false) => ClientMatch::Absent,
        ClientCertRule::Name(name) => ClientMatch::AnyOf(vec![name.0.clone()]),
        ClientCertRule::Names(names) => ClientMatch::AnyOf(names.iter().map(|name| name.0.clone()).collect()),
    }
}

/// The methods that a route serves: HEAD is GET without the content (RFC 9110 9.3.2).
fn allowed(methods: &[Verb]) -> Vec<Method> {
    let mut allowed: Vec<_> = methods.iter().map(|verb| verb.0.clone()).collect();
    if allowed.contains(&Method::GET) && !allowed.contains(&Method::HEAD) {
        allowed.push(Method::HEAD);
    }
    allowed
}

/// The only scheme that a route serves, where it does not serve both.
fn schemes(route: &Route) -> Option<Scheme> {
    let names = match route.allow_schemes.as_ref()? {
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many.as_slice(),
    };
    match (names.contains(&SchemeName::Http), names.contains(&SchemeName::Https)) {
        (true, false) => Some(Scheme::Http),
        (false, true) => Some(Scheme::Https),
        _ => None,
    }
}

/// A rule for a field as `route` reads it.
pub fn field_match((name, value): &(String, FieldRule)) -> Option<(HeaderName, FieldMatch)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, rule(value)))
}

fn rule(rule: &FieldRule) -> FieldMatch {
    match rule {
        FieldRule::Presence(true) => FieldMatch::Present,
        FieldRule::Presence(false) => FieldMatch::Absent,
        FieldRule::Value(value) => value.0.clone(),
    }
}

fn route_cache(file: &File, route: &Route, trusts: &Trusts) -> CacheSettings {
    let switched_off = matches!(route.cache, Some(Cache::Switch(false)));
    let policy = route_policy(file, route);
    let mut settings =
        policy.map_or_else(CacheSettings::default, |(name, policy)| policy_settings(name, policy, trusts));
    settings.mode = if switched_off || route.answers_itself() {
        cache::Mode::Off
    } else {
        route.mode.map_or(cache::Mode::Cache, mode)
    };
    settings
}

/// A route's policy, with its name where it has one.
pub(super) fn route_policy(file: &File, route: &Route) -> Option<(Option<Arc<str>>, Policy)> {
    match &route.cache {
        Some(Cache::Inline(policy)) => Some((None, (**policy).clone())),
        Some(Cache::Text(CacheText::Time(ttl))) => {
            Some((None, Policy { ttl: Some(Lifetime::Same(Time(*ttl))), ..Policy::default() }))
        }
        Some(Cache::Text(CacheText::Policy(name))) => {
            let found = file.policies.0.iter().find(|(known, _)| known == name);
            found.map(|(name, policy)| (Some(Arc::from(name.as_str())), policy.clone()))
        }
        Some(Cache::Switch(_)) | None => None,
    }
}

fn policy_settings(name: Option<Arc<str>>, policy: Policy, trusts: &Trusts) -> CacheSettings {
    let seconds = |Time(time): Time| time.as_secs();
    let names = |names: Vec<FieldName>| names.into_iter().map(|name| name.0).collect::<Vec<_>>();
    let mut rules = Rules {
        ttl: policy.ttl.as_ref().and_then(Lifetime::default_seconds),
        lifetimes: lifetime::lifetimes(&policy),
        stale_while_revalidate: policy.stale_while_revalidate.map(seconds),
        stale_if_error: policy.stale_if_error.map(seconds),
        ..Rules::default()
    };
    put(&mut rules.heuristics, policy.heuristics);
    put(&mut rules.honor_request_directives, policy.honor_request_directives);
    put(&mut rules.targets, policy.targets.map(names));
    put(&mut rules.cookies, policy.cookies);
    put(&mut rules.cache_errors, policy.cache_errors);
    put(&mut rules.stale_despite_s_maxage, policy.stale_despite_s_maxage);
    let mut settings = CacheSettings {
        policy: name,
        rules: Arc::new(rules),
        key: key_settings(policy.key, trusts),
        leak_guard: policy.leak_guard.unwrap_or_default(),
        tags: policy.tags.add.into_iter().map(|tag| tag.0.into()).collect(),
        max_body: policy.max_body.map(bytes),
        keep: policy.keep.map(time),
        slice: policy.slice.map(bytes),
        ..CacheSettings::default()
    };
    put(&mut settings.tag_headers, policy.tags.headers.map(names));
    put(&mut settings.show_key, policy.show_key);
    settings
}

/// A path into the tree.
pub fn path<const N: usize>(steps: [Step; N]) -> Vec<Step> {
    steps.into()
}
