//! Bad configs and what is said of them; good ones and what they become.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::finding;
use crate::upstream::settings::HostPolicy;

fn text(text: &str) -> Source {
    Source::Text { name: "t.toml".into(), text: text.into() }
}

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".into()),
        "WORKERS" => Some("3".into()),
        _ => None,
    }
}

fn load_text(config: &str) -> Loaded {
    load_with(&text(config), None, &Overrides::default(), &env)
}

/// `CODE line:column` of every finding.
fn codes(loaded: &Loaded) -> Vec<String> {
    let at = |finding: &Finding| match &finding.place {
        Some(place) => format!("{} {}:{}", finding.code, place.start().line, place.start().column),
        None => format!("{} -", finding.code),
    };
    loaded.findings.iter().map(at).collect()
}

fn good(config: &str) -> Compiled {
    let loaded = load_text(config);
    let rendered: Vec<_> = loaded.findings.iter().map(|finding| finding.render(false)).collect();
    assert!(loaded.findings.is_empty(), "{config}\n{}", rendered.join("\n"));
    loaded.compiled.expect("no findings")
}

const UP: &str = "upstream = 'http://a.example'\n";

#[test]
fn bad_values_are_told_where_they_stand() {
    let table = [
        // Shape.
        ("lisen = ':80'", "PS0103 2:1"),
        ("ttl = '1s'", "PS0103 2:1"),
        ("workers = '4'", "PS0104 2:11"),
        ("workers = -1", "PS0107 2:11"),
        ("workers = 5000", "PS0107 2:11"),
        ("workers = 1.5", "PS0104 2:11"),
        ("workers = 1979-05-27", "PS0104 2:11"),
        ("mode = 'of'", "PS0106 2:8"),
        ("name = 'a b'", "PS0211 2:8"),
        ("listen = 8080", "PS0203 2:10"),
        ("listen = '8080'", "PS0203 2:10"),
        ("listen = [':80', 'x']", "PS0203 2:18"),
        ("listen = { adr = ':80' }", "PS0105 2:10,PS0103 2:12"),
        ("listen = { addr = '80' }", "PS0203 2:19"),
        ("listen = []", "PS0112 2:10"),
        ("routes = { name = 'a' }", "PS0104 2:10"),
        ("upstreams = ['a']", "PS0104 2:13"),
        ("profiles = 1", "PS0104 2:12"),
        ("cache = 60", "PS0201 2:9"),
        ("cache = '60'", "PS0201 2:9"),
        ("cache = -5", "PS0214 2:9"),
        ("cache = '-5s'", "PS0214 2:9"),
        ("cache = { ttl = '-1s' }", "PS0214 2:17"),
        ("cache = { ttl = 60 }", "PS0201 2:17"),
        ("cache = { tll = '60s' }", "PS0103 2:11"),
        ("cache = { max_body = 5 }", "PS0202 2:22"),
        ("cache = { ttl = { 40x = '1s' } }", "PS0216 2:19"),
        ("cache = { ttl = { 404 = 1 } }", "PS0201 2:25"),
        ("cache = { min_ttl = { 600 = '1s' } }", "PS0216 2:23"),
        ("cache = { ttl = { 400-450 = '1s', 440-499 = '2s' } }", "PS0420 2:17"),
        ("cache = { min_ttl = '2s', max_ttl = '1s' }", "PS0420 2:21"),
        ("cache = { min_ttl = '2s', max_ttl = { default = '1m', 404 = '1s' } }", "PS0420 2:21"),
        ("cache = { override_ttl = { 5xx = '2s' }, max_ttl = '1s' }", "PS0420 2:26"),
        ("cache = { override_ttl = '1s', min_ttl = '2s' }", "PS0420 2:42"),
        ("cache = { min_ttl = { 404 = '2s' }, max_ttl = { 410 = '1s' } }", ""),
        ("cache = { jitter = '10' }", "PS0217 2:20"),
        ("cache = { jitter = '60%' }", "PS0107 2:20"),
        ("cache = { slice = '1KiB' }", "PS0107 2:19"),
        ("cache = { slice = '2GiB' }", "PS0107 2:19"),
        ("cache = { jitter = '0%' }", "PS0411 2:20"),
        ("cache = { prefetch = '5' }", "PS0201 2:22"),
        ("cache = { prefetch = '0s' }", "PS0411 2:22"),
        ("cache = { prefetch_hits = 2 }", "PS0411 2:27"),
        ("cache = { prefetch = '10%', prefetch_hits = 0 }", "PS0107 2:45"),
        ("cache = { prefetch = '1m', ttl = '30s' }", "PS0421 2:22"),
        ("cache = { ttl = { default = '1m', 404 = '500ms' } }", "PS0411 2:41"),
        ("cache = { key = { headers = ['a b'] } }", "PS0207 2:30"),
        ("cache = { tags = { add = ['a,b'] } }", "PS0211 2:27"),
        ("trusted_proxies = ['10.0.0.1/8']", "PS0205 2:20"),
        ("store = { memory = '1 apple' }", "PS0202 2:20"),
        ("server = { header_timeout = '0s' }", "PS0215 2:29"),
        ("telemetry = { access_log = 'stdout' }", "PS0106 2:28"),
        ("telemetry = { access_log = { format = 'xml' } }", "PS0106 2:39"),
        ("telemetry = { access_log = true }", "PS0104 2:28"),
        ("[policies.1h]\nttl = '1s'", "PS0303 2:11"),
        ("[policies.'a b']\nttl = '1s'", "PS0211 2:11"),
        // Variables.
        ("name = '${NO}'", "PS0109 2:9"),
        ("name = 'x${NO'", "PS0110 2:10"),
        ("listen = ':${PORT}x'", "PS0203 2:10"),
        // Syntax.
        ("a = = 1", "PS0101 2:5"),
        ("name = 'a'\nname = 'b'", "PS0102 3:1"),
        // Names.
        ("cache = 'deflt'\n[policies.default]", "PS0302 2:9"),
        ("[[routes]]\nupstream = 'b'", "PS0301 3:12"),
        ("[[routes]]\nname = 'r'\n[[routes]]\nname = 'r'", "PS0304 5:8"),
        // Routes.
        ("[[routes]]\nmatch = { host = 'a:80' }", "PS0208 3:18"),
        ("[[routes]]\nmatch = { path = ['/a', 'b'] }", "PS0209 3:25"),
        ("[[routes]]\nmatch = { path = '~ (' }", "PS0210 3:18"),
        ("[[routes]]\nmatch = { methods = 'get' }", "PS0206 3:21"),
        ("[[routes]]\nmatch = { headers = { 'x y' = true } }", "PS0207 3:23"),
        ("[[routes]]\nmatch = { headers = { x = 1 } }", "PS0104 3:27"),
        ("[[routes]]\ntimeout = 5", "PS0201 3:11"),
        // Upstreams.
        ("[upstreams.a]\nurl = 'a.example'", "PS0204 3:7"),
        ("[upstreams.a]\nurl = 'http://u:p@a'", "PS0212 3:7"),
        ("[upstreams.a]\nhost = 'a b'\nurl = 'http://a'", "PS0213 3:8"),
        ("[upstreams.a]\nretries = 0", "PS0105 2:1"),
        ("[upstreams.a]\nendpoints = []", "PS0112 3:13"),
        ("[upstreams.a]\nurl='http://a'\nendpoints = ['http://b']", "PS0111 4:13"),
        ("[upstreams.a]\nendpoints = [{ url = 'http://a', weight = 0 }]", "PS0107 3:43"),
        ("[upstreams.a]\nendpoints = [{ weight = 1 }]", "PS0105 3:14"),
        ("[upstreams.a]\nendpoints = [{ url = 'http://a', backup = true }]", "PS0405 3:13"),
        ("[upstreams.a]\nendpoints = ['http://a/x', 'http://b/y']", "PS0406 3:28"),
        ("[upstreams.a]\nendpoints = ['http://a', 'https://b']", "PS0407 3:26"),
        ("[upstreams.a]\nendpoints = ['http://a', 'http://a']", "PS0408 3:26"),
        ("[upstreams.a]\nurl = 'http://localhost:8080'", "PS0409 3:7"),
        ("listen = ':81'\n[upstreams.a]\nurl = 'http://127.0.0.1:81'", "PS0409 4:7"),
        ("[upstreams.a]\nurl = 'http://a'\nca = 'no/such.pem'", "PS0501 4:6"),
        ("[upstreams.a]\nurl = 'http://a'\nca = 'Cargo.toml'", "PS0502 4:6"),
        // Listeners.
        ("listen = [':80', ':80']", "PS0403 2:18"),
        ("listen = [':80', '127.0.0.1:80']", "PS0404 2:18"),
        ("listen = ['127.0.0.1:80', { addr = '0.0.0.0:80' }]", "PS0404 2:36"),
        ("telemetry = { listen = '127.0.0.1:8080' }", "PS0403 2:24"),
        ("telemetry = { listen = ':9090' }", "PS0410 2:24"),
        // The machine.
        ("telemetry = { access_log = { path = 'no/such/dir/a.log' } }", "PS0503 2:37"),
        ("telemetry = { access_log = { path = 'src' } }", "PS0503 2:37"),
        // Effects.
        ("telemetry = { access_log = { keep = 1 } }", "PS0411 2:37"),
        ("trusted_proxies = ['0.0.0.0/0']", "PS0412 2:20"),
        ("cache = { ttl = '1s', cookies = true }", "PS0413 2:33"),
        ("cache = { ttl = '1500ms' }", "PS0411 2:17"),
        // Keys.
        ("cache = { key = { query = ['a'], ignore_query = ['b'] } }", "PS0111 2:49"),
        ("cache = { key = { cookies = ['a=b'] } }", "PS0211 2:30"),
        ("cache = { key = { body = true } }", "PS0431 2:26"),
        ("cache = { key = { max_body = '1k' } }", "PS0411 2:30"),
        ("cache = { key = { user = {} } }", "PS0105 2:26"),
        ("cache = { key = { user = { claim = 'sub', cookie = 'sid' } } }", "PS0111 2:26"),
        ("cache = { key = { user = { header = 'x-user-id' } } }", "PS0411 2:37"),
        ("cache = { key = { query_case = 'lower' } }", "PS0106 2:32"),
        (
            "cache = { key = { host = false } }\n[upstreams.u]\nurl = 'http://u'\nhost = 'client'\n\
             [[routes]]\nmatch = { path = '/u' }\nupstream = 'u'",
            "PS0430 2:26",
        ),
        ("cache = { cache_errors = true }", "PS0411 2:26"),
        ("cache = { max_body = '5GiB' }", "PS0411 2:22"),
        ("cache = { max_disk = '11GiB' }", "PS0411 2:22"),
        ("cache = { max_memory = '300MiB' }", "PS0411 2:24"),
        ("store = { memory = '0', disk = '0' }", "PS0411 2:20"),
        ("[[routes]]\nmatch = { path = '/a' }\nmode = 'off'\ncache = '1s'", "PS0411 5:9"),
        ("[[routes]]\nmatch = { path = '/a' }\ntimeout = '1s'\nrequest_idle_timeout = '2s'", "PS0401 5:24"),
        (
            "[[routes]]\nmatch = { path = '/a' }\nupstream = 'http://a.example'\ngrpc_web = true",
            "PS0411 5:12",
        ),
        // Fields.
        ("[[routes]]\nrequest_headers = { set = { host = 'a' } }", "PS0241 3:36"),
        ("[[routes]]\nrequest_headers = { remove = ['X-Forwarded-For'] }", "PS0241 3:31"),
        ("[[routes]]\nresponse_headers = { set = { content-length = '1' } }", "PS0241 3:47"),
        ("[[routes]]\nresponse_headers = { set = { a = '{hots}' } }", "PS0240 3:34"),
        ("[[routes]]\nresponse_headers = { set = { a = '{header.b}' } }", "PS0240 3:34"),
        ("[[routes]]\nrequest_headers = { set = { a = '{status}' } }", "PS0240 3:33"),
        ("[[routes]]\nrequest_headers = { set = { a = \"1\\r\\nb: 2\" } }", "PS0240 3:33"),
        (
            "[[routes]]\nmatch = { path = '/a' }\nrequest_headers = { set = { a = '{client}' } }",
            "PS0430 4:33",
        ),
        (
            "[[routes]]\nmatch = { path = '/a' }\nrequest_headers = { add = { a = '{header.b}' } }",
            "PS0430 4:33",
        ),
        // Rewrites.
        ("[[routes]]\npath = { strip_prefix = 'api' }", "PS0209 3:25"),
        ("[[routes]]\npath = { strip_prefix = '/api/' }", "PS0209 3:25"),
        ("[[routes]]\npath = { strip_prefix = '/a/../b' }", "PS0209 3:25"),
        ("[[routes]]\npath = { add_prefix = '/' }", "PS0209 3:23"),
        ("[[routes]]\npath = { replace = { '(' = '/' } }", "PS0210 3:22"),
        ("[[routes]]\npath = { replace = { 'a' = '/?b' } }", "PS0209 3:28"),
        ("[[routes]]\npath = { replace = { '(a)' = '/$1b' } }", "PS0240 3:30"),
        ("[[routes]]\npath = { prefix = '/a' }", "PS0103 3:10"),
        ("[[routes]]\nquery = { remove = ['a&b'] }", "PS0211 3:21"),
        // Cross-origin requests.
        ("cors = 'example.com'", "PS0242 2:8"),
        ("cors = 'https://example.com/'", "PS0242 2:8"),
        ("cors = ['null']", "PS0242 2:9"),
        ("cors = true", "PS0112 2:8"),
        ("cors = []", "PS0112 2:8"),
        ("cors = { methods = ['GET'] }", "PS0105 2:8"),
        ("cors = { origins = '*', credentials = true }", "PS0470 2:39"),
        ("cors = { origins = 'https://a.test', credentials = true, expose = '*' }", "PS0411 2:67"),
        ("cors = ['*', 'https://a.test']", "PS0411 2:8"),
        (
            "cors = '*'\n[[routes]]\nmatch = { path = '/a' }\nresponse_headers = { set = { Access-Control-Max-Age = '1' } }",
            "PS0411 5:55",
        ),
        // Users with passwords.
        ("basic_auth = true", "PS0112 2:14"),
        ("basic_auth = {}", "PS0112 2:14"),
        ("basic_auth = { users = { alice = 'hunter2' } }", "PS0243 2:34"),
        ("basic_auth = { users = { alice = '$apr1$a$b' } }", "PS0243 2:34"),
        ("basic_auth = { users = { 'a:b' = '$apr1$a$b' } }", "PS0211 2:26"),
        ("basic_auth = { file = '/no/such/file' }", "PS0542 2:23"),
        ("[[routes]]\nbasic_auth = { file = '/no/such/file', users = { } }", "PS0542 3:23"),
        (
            "[[routes]]\nmatch = { path = '/a' }\nrequest_headers = { set = { x-user = '{user}' } }",
            "PS0430 4:38",
        ),
        // Who is served.
        ("[[routes]]\nallow = ['10.0.0.1/8']", "PS0205 3:10"),
        ("[[routes]]\nallow = []", "PS0112 3:9"),
        ("[[routes]]\ndeny = ['file:']", "PS0112 3:9"),
        ("[[routes]]\ndeny = 'file:/no/such/file'", "PS0541 3:8"),
        // Replies of routes' own.
        ("[[routes]]\nredirect = 'www.example.com'", "PS0240 3:12"),
        ("[[routes]]\nredirect = '/{hots}'", "PS0240 3:12"),
        ("[[routes]]\nredirect = '/{path}'\nupstream = 'http://a'", "PS0111 4:12"),
        ("[[routes]]\nredirect = { to = '/a', status = 304 }", "PS0107 3:34"),
        ("[[routes]]\nredirect = { to = '/a', status = 200 }", "PS0107 3:34"),
        ("[[routes]]\nredirect = { status = 301 }", "PS0105 3:12"),
        ("[[routes]]\nrespond = {}\nredirect = '/a'", "PS0111 4:12"),
        ("[[routes]]\nrespond = { status = 100 }", "PS0107 3:22"),
        ("[[routes]]\nrespond = { status = 204, body = 'a' }", "PS0111 3:34"),
        ("[[routes]]\nrespond = { body = 'a', file = 'b' }", "PS0111 3:32,PS0540 3:32"),
        ("[[routes]]\nrespond = { file = '/no/such/file' }", "PS0540 3:20"),
        ("[[routes]]\nmatch = { path = '/a' }\nrespond = { type = 'text/html' }", "PS0411 4:20"),
        ("[[routes]]\nrespond = { headers = { content-length = '1' } }", "PS0241 3:42"),
        ("[[routes]]\nrespond = { headers = { a = \"1\\r\\nb: 2\" } }", "PS0213 3:29"),
        ("[[routes]]\nmatch = { path = '/a' }\nrespond = {}\ncache = '1s'", "PS0411 5:9"),
        ("[[routes]]\nmatch = { path = '/a' }\nrespond = {}\nmaintenance = true", "PS0411 5:15"),
        ("maintenance = { type = 'text/html' }", "PS0411 2:24"),
        ("maintenance = { allow = ['x'] }", "PS0205 2:26"),
        ("compress = { codings = ['gzip', 'deflate'] }", "PS0106 2:33"),
        ("compress = { codings = [] }", "PS0112 2:24"),
        ("compress = { codings = ['br', 'gzip', 'br'] }", "PS0411 2:39"),
        ("compress = { codings = ['br'], gzip_level = 5 }", "PS0411 2:45"),
        ("compress = { gzip_level = 10 }", "PS0107 2:27"),
        ("compress = { br_level = 12 }", "PS0107 2:25"),
        ("compress = { types = ['text/html; charset=utf-8'] }", "PS0250 2:23"),
        ("compress = { types = ['json'] }", "PS0250 2:23"),
        ("compress = { types = ['text/*', 'image/*'] }", "PS0463 2:33"),
        ("compress = { types = [] }", "PS0112 2:22"),
        ("compress = { min_size = '1 sack' }", "PS0202 2:25"),
        ("compress = 'gzip'", "PS0104 2:12"),
        ("[[routes]]\nmatch = { path = '/a' }\nredirect = '/b'\ncompress = true", "PS0411 5:12"),
        (
            "[[routes]]\nmatch = { path = '/a' }\nupstream = 'http://b'\ncompress = { types = ['image/png'] }",
            "PS0463 5:23",
        ),
        ("[upstreams.a]\nurl = 'http://a'", "PS0307 2:12"),
        ("[policies.a]\nttl = '1s'", "PS0308 2:11"),
        ("[profiles.x]\nlisen = 1", "PS0103 3:1"),
    ];
    for (config, expected) in table {
        let loaded = load_text(&format!("{UP}{config}\n"));
        let mut found = codes(&loaded);
        // What is broken may at the same time be unused; only the error is in question here.
        if finding::count(&loaded.findings).0 > 0 {
            found.retain(|code| !["PS0307", "PS0308"].iter().any(|unused| code.starts_with(unused)));
        } else if !expected.starts_with("PS0307") {
            found.retain(|code| !code.starts_with("PS0307"));
        }
        assert_eq!(found.join(","), expected, "{config}");
        for finding in &loaded.findings {
            let rendered = finding.render(false);
            assert!(rendered.contains(finding.code.as_str()), "{rendered}");
        }
    }
}

#[test]
fn a_route_that_would_refuse_everything_is_told() {
    for (route, wanted) in [
        ("allow_methods = []", vec!["PS0112 3:17"]),
        ("allow_schemes = []", vec!["PS0112 3:17"]),
        ("allow_schemes = 'ftp'", vec!["PS0106 3:17"]),
        ("allow_methods = ['get']", vec!["PS0206 3:18"]),
        ("allow_methods = ['GET']", vec![]),
    ] {
        let config = format!("{UP}[[routes]]\n{route}\nmatch.path = '/x'\n");
        assert_eq!(codes(&load_text(&config)), wanted, "{config}");
    }
}

#[test]
fn rate_limits_that_cannot_work_are_told() {
    let table = [
        ("rate = '0/m'", "PS0215 3:8"),
        ("rate = '10'", "PS0231 3:8"),
        ("burst = 2", "PS0105 2:1"),
        ("rate = '1/m'\nburst = 0", "PS0107 4:9"),
        ("rate = '1/m'\nkey = 'ip'", "PS0232 4:7"),
        ("rate = '1/m'\nalgorithm = 'bucket'", "PS0106 4:13"),
        ("rate = '1/m'\nstatus = 200", "PS0107 4:10"),
        ("rate = '1/m'\nipv6_prefix = 129", "PS0107 4:15"),
        ("rate = '1/2d'", "PS0460 3:8"),
        ("rate = '1/m'\nalgorithm = 'fixed-window'\nburst = 2", "PS0411 5:9"),
        ("rate = '1/m'\nkey = 'path:id'", "PS0462 4:7"),
        ("rate = '1/m'\nexempt = [{}]", "PS0461 4:11"),
        ("rate = '1/m'\nexempt = [{ headers = { x-probe = true } }]", "PS0461 4:23"),
        ("rate = '1/m'\ntiers.all = { rate = '2/m' }", "PS0411 4:13"),
    ];
    for (config, wanted) in table {
        let config = format!("{UP}[rate_limits.a]\n{config}\nevery_route = true\n");
        // Where a key is missing, others can't be found either.
        assert_eq!(codes(&load_text(&config)).first().map(String::as_str), Some(wanted), "{config}");
    }
    let limits = "[rate_limits.api]\nrate = '1/m'\n";
    for (route, wanted) in [
        ("rate_limits = ['apy']", vec!["PS0311 3:16"]),
        ("rate_limits = ['api', 'api']", vec!["PS0411 3:23"]),
        ("", vec!["PS0312 4:14"]),
        ("rate_limits = ['api']", vec![]),
    ] {
        let lines = format!("{UP}[[routes]]\n{route}\nmatch.path = '/x'\n{limits}").replace("\n\n", "\n");
        assert_eq!(codes(&load_text(&lines)), wanted, "{lines}");
    }
}

#[test]
fn a_config_that_routes_nothing_is_an_error() {
    assert_eq!(codes(&load_text("")), ["PS0306 1:1"]);
    assert_eq!(codes(&load_text("[upstreams.a]\nurl = 'http://a'")), ["PS0306 1:1"]);
    assert_eq!(codes(&load_text("[[routes]]\nname = 'a'")), ["PS0305 1:1"]);
    assert_eq!(codes(&load_text("upstream = 'b.example'")), ["PS0301 1:12"]);
}

#[test]
fn what_is_broken_leads_to_no_second_finding() {
    assert_eq!(codes(&load_text("upstream = 'http://'")), ["PS0204 1:12"]);
    assert_eq!(codes(&load_text("upstream = 'a'\n[upstreams.a]\nurl = 5")), ["PS0104 3:7"]);
    assert_eq!(codes(&load_text("upstream = 'a'\nupstreams = { a = 1 }")), ["PS0104 2:19"]);
    assert_eq!(codes(&load_text("routes = [1]")), ["PS0104 1:11"]);
    assert_eq!(codes(&load_text("[[routes]]\nupstream = '${NO}'")), ["PS0109 2:13"]);
}

#[test]
fn what_looks_like_a_duration_is_not_taken_for_the_name_of_a_policy() {
    let loaded = load_text("upstream = 'http://127.0.0.1:1'\ncache = '1.5h'\n");
    assert_eq!(codes(&loaded), ["PS0302 2:9"]);
    let help = loaded.findings[0].help.clone().unwrap_or_default();
    assert!(help.contains("whole numbers"), "{help}");
}

#[test]
fn all_findings_come_at_once() {
    let loaded = load_text(
        "listen = 80\nworkers = -1\n[upstreams.api]\nurl = 'nope'\nretires = 1\n[[routes]]\nname = 'a'\n\
         upstream = 'apo'\ncache = 'x'\n[[routes]]\nname = 'a'\nupstream='api'\n",
    );
    let expected = [
        "PS0203 1:10",
        "PS0107 2:11",
        "PS0204 4:7",
        "PS0103 5:1",
        "PS0301 8:12",
        "PS0302 9:9",
        "PS0304 11:8",
    ];
    assert_eq!(codes(&loaded), expected);
    assert!(loaded.compiled.is_none());
    let help = |index: usize| loaded.findings[index].help.clone().unwrap_or_default();
    assert!(help(3).contains("`retries`"), "{}", help(3));
    assert!(help(4).contains("`api`"), "{}", help(4));
}

#[test]
fn the_caret_stands_under_what_is_meant() {
    let loaded = load_text(&format!("{UP}cahce = \"60s\"\n"));
    assert_eq!(
        loaded.findings[0].render(false),
        "error[PS0103]: unknown key `cahce`\n --> t.toml:2:1\n  |\n2 | cahce = \"60s\"\n  | ^^^^^\n  |\n  \
         = help: did you mean `cache`?"
    );
}

#[test]
fn the_short_file_is_whole() {
    let compiled =
        good("listen = \"127.0.0.1:8080\"\nupstream = \"https://api.example.com\"\ncache = \"60s\"\n");
    assert_eq!(compiled.listeners, [server_listener("127.0.0.1:8080")]);
    assert_eq!(compiled.upstreams.len(), 1);
    let up = &compiled.upstreams[0];
    assert_eq!(
        (&*up.name, &*up.endpoints[0].host, up.endpoints[0].port),
        ("default", "api.example.com", 443)
    );
    let route = &compiled.pipeline.routes[0];
    assert_eq!((&*route.name, &*route.upstream), ("default", "default"));
    assert_eq!(route.cache.rules.ttl, Some(60));
}

#[test]
fn a_policy_limits_each_of_its_routes() {
    let compiled = good(
        "upstream = 'http://a'\n[policies.small]\nmax_disk = '1MiB'\nmax_memory = '64KiB'\n\
         [[routes]]\nname = 'x'\nmatch = { path = '/x' }\ncache = 'small'\n\
         [[routes]]\nname = 'y'\nmatch = { path = '/y' }\ncache = { max_disk = '5MB' }\n\
         [[routes]]\nname = 'z'\nmatch = { path = '/z' }\n",
    );
    let quota = |route: &str, memory, disk| crate::cache::Quota { route: route.into(), memory, disk };
    assert_eq!(
        compiled.cache.quotas,
        [quota("x", Some(64 << 10), Some(1 << 20)), quota("y", None, Some(5_000_000))]
    );
}

fn server_listener(address: &str) -> crate::server::ListenerSettings {
    crate::server::ListenerSettings::at(address.parse().unwrap())
}

#[test]
fn what_is_built_in_is_what_the_rooms_say() {
    let compiled = good("upstream = 'http://a'");
    assert_eq!(compiled.server, crate::server::Settings::default());
    assert_eq!(compiled.cache, crate::cache::Settings::default());
    assert_eq!(compiled.telemetry, crate::telemetry::Settings::default());
    let up = &compiled.upstreams[0];
    assert_eq!(*up, crate::upstream::settings::Settings::new("default", up.endpoints[0].clone()));
    let cache = &compiled.pipeline.routes[0].cache;
    let built_in = crate::pipeline::CacheSettings::default();
    assert_eq!((&cache.rules, &cache.tag_headers), (&built_in.rules, &built_in.tag_headers));
    let inline = good("upstream = 'http://a'\ncache = {}");
    let cache = &inline.pipeline.routes[0].cache;
    assert_eq!((&cache.rules, &cache.tag_headers), (&built_in.rules, &built_in.tag_headers));
}

#[test]
fn the_long_file_compiles_exactly() {
    let compiled = good(
        r#"
listen = [":8080", { addr = "127.0.0.1:8443" }]
workers = "${WORKERS}"
name = "edge"
trusted_proxies = ["10.0.0.0/8", "::1"]
mode = "off"

[upstreams.api]
endpoints = ["http://10.0.0.1:8080/base/", { url = "http://10.0.0.2:8080/base", weight = 2, backup = true }]
host = "client"
connect_timeout = "250ms"
keepalive = "0s"
retries = 0

[[routes]]
name = "users"
match = { host = ["api.example.com", "*.example.com"], path = "/v1/users/*", methods = ["GET", "HEAD"], headers = { x-a = true, x-b = false, x-c = "~ ^v" }, query = { page = "1" } }
upstream = "api"
cache = "default"
timeout = "1m"
max_request_body = "1MiB"

[[routes]]
name = "rest"
upstream = "https://other.example"
cache = false

[policies.default]
ttl = "60s"
stale_while_revalidate = "30s"
stale_if_error = "1d"
key = { ignore_query = ["utm_*", "x"], headers = ["Accept-Language"] }
tags = { headers = ["surrogate-key"], add = ["users"] }
max_body = "1MB"

[store]
memory = "64MiB"
disk = "0"
keep = "1h"

[server]
shutdown_grace = "5s"
max_header_bytes = "8k"

[telemetry]
listen = "127.0.0.1:9090"
ring = 5
access_log = { format = "json", path = "access.log", max_size = "1MB", keep = 2 }
"#,
    );
    assert_eq!(compiled.listeners, [server_listener("[::]:8080"), server_listener("127.0.0.1:8443")]);
    assert_eq!(compiled.workers, 3);
    let up = &compiled.upstreams[0];
    assert_eq!((&*up.base_path, &up.host, up.retries), ("/base", &HostPolicy::Client, 0));
    assert_eq!((up.connect_timeout, up.keepalive), (Duration::from_millis(250), Duration::ZERO));
    assert_eq!((up.endpoints[1].weight, up.endpoints[1].backup, up.endpoints[0].weight), (2, true, 1));
    assert_eq!(&*compiled.upstreams[1].name, "https://other.example");
    let route = &compiled.pipeline.routes[0];
    assert_eq!(route.matcher.hosts.len(), 2);
    assert_eq!(route.matcher.headers.len(), 3);
    assert_eq!((route.timeout, route.max_request_body), (Some(Duration::from_secs(60)), Some(1 << 20)));
    assert_eq!(route.cache.policy.as_deref(), Some("default"));
    assert_eq!((route.cache.rules.ttl, route.cache.rules.stale_if_error), (Some(60), Some(86_400)));
    assert_eq!((route.cache.key.query.ignore.len(), route.cache.key.headers.len()), (2, 1));
    assert_eq!((&*route.cache.tags[0], route.cache.max_body), ("users", Some(1_000_000)));
    assert_eq!(compiled.pipeline.routes[1].cache.mode, Mode::Off);
    assert_eq!(compiled.pipeline.mode, Some(Mode::Off));
    assert_eq!((&*compiled.pipeline.name, compiled.pipeline.trusted.len()), ("edge", 2));
    assert_eq!((compiled.cache.memory, compiled.cache.disk), (64 << 20, 0));
    assert_eq!(compiled.server.max_header_bytes, 8192);
    assert_eq!(compiled.telemetry.ring, 5);
    let log = compiled.telemetry.access_log.expect("a log");
    assert!(matches!(
        log.target,
        crate::telemetry::settings::LogTarget::File { keep: 2, max_size: 1_000_000, .. }
    ));
}

#[test]
fn a_profile_is_put_over_the_file() {
    let source = text(
        "upstream = 'http://a'\n[server]\nkeepalive = '1s'\n[profiles.ci]\nmode = 'off'\nserver = { max_headers = 5 }\n",
    );
    let none = Overrides::default();
    let loaded = load_with(&source, Some("ci"), &none, &env);
    assert_eq!(codes(&loaded), [""; 0]);
    let compiled = loaded.compiled.expect("compiles");
    assert_eq!(compiled.pipeline.mode, Some(Mode::Off));
    assert_eq!((compiled.server.max_headers, compiled.server.keepalive), (5, Duration::from_secs(1)));
    assert_eq!(load_with(&source, None, &none, &env).compiled.expect("compiles").pipeline.mode, None);
    let unknown = load_with(&source, Some("cl"), &none, &env);
    assert_eq!(codes(&unknown), ["PS0108 1:1"]);
    assert!(unknown.findings[0].help.as_deref().unwrap_or_default().contains("`ci`"));
}

#[test]
fn lint_looks_into_every_profile() {
    let source = text("upstream = 'http://a'\n[profiles.ci]\nupstream = 'nobody'\n");
    assert_eq!(codes(&load(&source, None, &Overrides::default())), [""; 0]);
    assert_eq!(codes(&lint(&source, None)), ["PS0301 3:12"]);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        dev_tls: None,
        listen: vec!["9000".into(), "[::1]:9001".into()],
        mode: Some(Mode::Off),
        workers: Some(2),
        grace: Some(Duration::from_millis(1500)),
    };
    let loaded =
        load_with(&text("upstream = 'http://a'\nlisten = ':80'\nworkers = 7"), None, &overrides, &env);
    let compiled = loaded.compiled.expect("compiles");
    assert_eq!(compiled.listeners, [server_listener("127.0.0.1:9000"), server_listener("[::1]:9001")]);
    assert_eq!((compiled.workers, compiled.pipeline.mode), (2, Some(Mode::Off)));
    assert_eq!(compiled.server.shutdown_grace, Duration::from_millis(1500));

    let bad = Overrides { listen: vec!["nowhere".into()], ..Overrides::default() };
    let loaded = load_with(&Source::Url("api.example.com".into()), None, &bad, &env);
    let names: Vec<_> =
        loaded.findings.iter().map(|f| f.place.as_ref().unwrap().source.name.to_string()).collect();
    assert_eq!(names, ["--listen", "URL"]);
}

#[test]
fn a_shadowed_route_is_told() {
    let loaded = load_text(
        "[[routes]]\nname='a'\nmatch={path='/x'}\nupstream='http://a'\n[[routes]]\nname='b'\nmatch={path='/x'}\nupstream='http://a'\n",
    );
    assert_eq!(codes(&loaded), ["PS0402 7:7"]);
    assert!(loaded.compiled.is_some());
}

#[test]
fn files_are_read_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let none = Overrides::default();
    let missing = load(&Source::File(dir.path().join("no.toml")), None, &none);
    assert_eq!(codes(&missing), ["PS0001 -"]);
    let latin = dir.path().join("latin.toml");
    std::fs::write(&latin, b"name = 'a'\nx = '\xe4'").unwrap();
    assert_eq!(codes(&load(&Source::File(latin), None, &none)), ["PS0002 2:6"]);
    assert_eq!(codes(&load(&Source::File(dir.path().into()), None, &none)), ["PS0001 -"]);

    let key = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), key.cert.pem()).unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(&config, "upstream = 'a'\n[upstreams.a]\nurl = 'https://a'\nca = 'ca.pem'\n").unwrap();
    let loaded = load(&Source::File(config.clone()), None, &none);
    assert_eq!(loaded.files, [config, dir.path().join("ca.pem")]);
    assert_eq!(loaded.compiled.expect("compiles").upstreams[0].ca.len(), 1);
}

const FRAGMENTS: &[&str] = &[
    "listen",
    "upstream",
    "routes",
    "[[routes]]",
    "[upstreams.a]",
    "[profiles.p]",
    "match",
    "=",
    "{",
    "}",
    "[",
    "]",
    "'http://a'",
    "':80'",
    "\"${X}\"",
    "60",
    "-1",
    "1.5",
    "true",
    "'60s'",
    "cache",
    "path",
    "name",
    "\n",
    ",",
    ".",
    "endpoints",
    "url",
    "access_log",
    "telemetry",
    "policies",
    "'ü'",
    "1979-05-27",
    "\"\\u0000\"",
];

proptest! {
    #[test]
    fn no_text_panics(config in "\\PC{0,200}") {
        for finding in load_text(&config).findings {
            finding.render(true);
        }
    }

    #[test]
    fn nothing_like_a_config_panics(parts in proptest::collection::vec(proptest::sample::select(FRAGMENTS), 0..40)) {
        for finding in load_text(&parts.join(" ")).findings {
            finding.report();
        }
    }
}
