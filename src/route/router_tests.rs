use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// `HOSTS PATHS METHODS [header=value ...] [?parameter=value ...]`, lists by commas, `-` for none.
fn spec(text: &str) -> MatchSpec {
    let mut words = text.split(' ');
    let mut list = || words.next().unwrap().split(',').filter(|word| *word != "-").collect::<Vec<_>>();
    let hosts = list().into_iter().map(|host| HostPattern::parse(host).unwrap()).collect();
    let paths = list().into_iter().map(|path| PathPattern::parse(path).unwrap()).collect();
    let methods = list().into_iter().map(|method| method.parse().unwrap()).collect();
    let mut spec = MatchSpec { hosts, paths, methods, ..MatchSpec::default() };
    for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
        let value = FieldMatch::parse(value).unwrap();
        match name.strip_prefix('?') {
            Some(name) => spec.query.push((name.into(), value)),
            None => spec.headers.push((name.parse().unwrap(), value)),
        }
    }
    spec
}

fn router(routes: &[(&str, &str)]) -> Router {
    Router::build(routes.iter().map(|(name, text)| (Arc::from(*name), spec(text))).collect()).unwrap()
}

/// `METHOD HOST PATH[?QUERY] [name:value ...]`
fn with_facts<T>(request: &str, then: impl FnOnce(&Facts<'_>) -> T) -> T {
    let mut words = request.split(' ');
    let method: Method = words.next().unwrap().parse().unwrap();
    let host = words.next().unwrap();
    let target = words.next().unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    for (name, value) in words.map(|word| word.split_once(':').unwrap()) {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    then(&Facts { host, path, method: &method, headers: &headers, query, client: None })
}

fn taken<'r>(router: &'r Router, request: &str) -> Option<&'r str> {
    with_facts(request, |facts| router.find(facts).map(|route| &*router.routes[route].0))
}

#[test]
fn the_most_specific_route_wins_wherever_it_stands() {
    let routes = [
        ("none", "- - -"),
        ("regex", "- ~^/v1/.*\\d$ -"),
        ("regex2", "- ~^/v1/ GET"),
        ("tree", "- /v1/* -"),
        ("tree2", "- /v1/users/* -"),
        ("rest", "- /v1/users/{*rest} -"),
        ("loose", "- /{a}/{b}/{c} -"),
        ("user", "- /v1/users/{id} -"),
        ("user-post", "- /v1/users/{id} POST"),
        ("me", "- /v1/users/me -"),
        ("me-debug", "- /v1/users/me - x-debug=*"),
        ("me-debug-page", "- /v1/users/me - x-debug=* ?page=2"),
        ("wild", "*.example.com - -"),
        ("wilder", "*.api.example.com - -"),
        ("exact", "a.api.example.com - -"),
        ("exact-tree", "a.api.example.com /v1/* -"),
    ];
    let router = router(&routes);
    for (request, route) in [
        ("GET other /v2", "none"),
        ("GET other /v1", "tree"),
        ("GET other /v1/x", "tree"),
        ("GET other /v1/users", "tree2"),
        ("GET other /v1/users/", "tree2"),
        ("GET other /v1/users/7/8", "rest"),
        ("GET other /v1/users/7", "user"),
        ("GET other /x/y/z", "loose"),
        ("POST other /v1/users/7", "user-post"),
        ("GET other /v1/users/me", "me"),
        ("POST other /v1/users/me", "me"),
        ("GET other /v1/users/me?page=2 x-debug:1", "me-debug-page"),
        ("GET other /v1/users/me?page=3 x-debug:1", "me-debug"),
        ("GET x.example.com /v1/users/me", "wild"),
        ("GET a.b.example.com /", "wild"),
        ("GET b.api.example.com /", "wilder"),
        ("GET a.api.example.com /", "exact"),
        ("GET a.api.example.com /v1/users/me", "exact-tree"),
        ("GET example.com /", "none"),
        ("GET  /", "none"),
        ("OPTIONS other *", "none"),
    ] {
        assert_eq!(taken(&router, request), Some(route), "{request}");
    }
}

#[test]
fn a_less_specific_route_takes_what_the_better_ones_leave() {
    let router = router(&[
        ("post", "a.example /x/{id} POST"),
        ("tree", "a.example /x/* GET"),
        ("other-shape", "a.example /{any}/y PUT"),
        ("wild", "*.example /x/y DELETE"),
        ("any", "- /x/y PATCH"),
    ]);
    for (request, route) in [
        ("POST a.example /x/y", Some("post")),
        ("HEAD a.example /x/y", Some("tree")),
        ("PUT a.example /x/y", Some("other-shape")),
        ("DELETE a.example /x/y", Some("wild")),
        ("PATCH a.example /x/y", Some("any")),
        ("TRACE a.example /x/y", None),
    ] {
        assert_eq!(taken(&router, request), route, "{request}");
    }
}

#[test]
fn literal_segments_count_before_their_place() {
    let router = router(&[
        ("early", "- /a/{x}/{y} -"),
        ("later", "- /{x}/b/c -"),
        ("first", "- /a/{x} -"),
        ("last", "- /{x}/b -"),
    ]);
    assert_eq!(taken(&router, "GET h /a/b/c"), Some("later"));
    assert_eq!(taken(&router, "GET h /a/b"), Some("first"));
}

#[test]
fn every_route_says_why_it_was_not_taken() {
    let router = router(&[
        ("host", "*.api.com - -"),
        ("no-host", "example.com,b.com - -"),
        ("path", "- /v1/*,/v2 -"),
        ("method", "- - GET,HEAD"),
        ("header", "- - - x-a=*"),
        ("value", "- - - x-b=1"),
        ("regex", "- - - x-b=~^1"),
        ("forbidden", "- - - x-b=!"),
        ("query", "- - - ?page=1"),
        ("query-value", "- - - ?q=1"),
        ("less", "- - -"),
        ("users", "- /users -"),
    ]);
    let said: Vec<String> = with_facts("POST example.org /users?q=2 x-b:secret", |facts| {
        let verdicts = router.explain(facts);
        assert!(verdicts.iter().all(|verdict| verdict.chosen == verdict.reason.is_none()));
        verdicts
            .iter()
            .map(|verdict| verdict.reason.as_ref().map_or("taken".into(), ToString::to_string))
            .collect()
    });
    assert_eq!(
        said,
        [
            "host example.org is not *.api.com",
            "host example.org is not example.com, b.com",
            "path /users is not /v1/*, /v2",
            "method POST is not GET, HEAD",
            "header x-a absent",
            "header x-b is not `1`",
            "header x-b does not match `^1`",
            "header x-b present",
            "query parameter page absent",
            "query parameter q is not `1`",
            "less specific than `users`",
            "taken",
        ]
    );
}

#[test]
fn routes_that_can_never_win_are_known() {
    for (routes, shadowed) in [
        (&[("a", "- /x -"), ("b", "- /x -")][..], &[(1, 0)][..]),
        (&[("a", "- /x/{id} -"), ("b", "- /x/{name} -")], &[(1, 0)]),
        (&[("a", "- /x GET"), ("b", "- /x HEAD")], &[(1, 0)]),
        (&[("a", "- /x GET"), ("b", "- /x POST")], &[]),
        (&[("a", "- /x -"), ("b", "- /x GET")], &[]),
        (&[("a", "- /x GET"), ("b", "- /x -")], &[]),
        (&[("a", "- /x - x-a=*"), ("b", "- /x - x-a=1")], &[(1, 0)]),
        (&[("a", "- /x - x-a=1"), ("b", "- /x - x-a=*")], &[]),
        (&[("a", "- /x - x-a=*"), ("b", "- /x - x-a=1 x-b=1")], &[]),
        (&[("a", "- /x - x-a=!"), ("b", "- /x - x-a=*")], &[]),
        (&[("a", "- ~^/x -"), ("b", "- ~^/x GET")], &[(1, 0)]),
        (&[("a", "h.example /x -"), ("b", "*.example /x -"), ("c", "- /x -")], &[]),
        (&[("a", "- /x,/y,/z -"), ("b", "- /x,/z -")], &[(1, 0)]),
        (&[("a", "- /x -"), ("b", "- /x,/y -")], &[]),
        (&[("a", "- /x -"), ("b", "- /y -"), ("c", "- /x,/y -")], &[(2, 0)]),
        (&[("a", "- /x/* -"), ("b", "- /x/{*rest} -"), ("c", "- /x/{id} -"), ("d", "- /x -")], &[]),
    ] {
        assert_eq!(router(routes).shadowed(), shadowed, "{routes:?}");
    }
}

#[test]
fn routes_that_contradict_are_refused() {
    let two = Router::build(vec![("a".into(), spec("- /x -")), ("a".into(), spec("- /y -"))]);
    assert_eq!(two.unwrap_err(), BuildError::DuplicateName("a".into()));
    let bad = MatchSpec { paths: vec![PathPattern::Params("/{*a}/b".into())], ..MatchSpec::default() };
    assert!(matches!(Router::build(vec![("a".into(), bad)]), Err(BuildError::Path { .. })));
}

#[test]
fn deep_requests_do_not_deepen_the_walk() {
    let router = router(&[("p", "- /{a}/{b} -"), ("t", "- /a/* -")]);
    let deep = format!("GET h {}", "/a".repeat(100_000));
    assert_eq!(taken(&router, &deep), Some("t"));
}

#[test]
fn which_routes_may_take_a_target_whatever_its_method_and_fields() {
    let router = router(&[
        ("json", "- /a/* - x-a=1"),
        ("write", "- /a/* POST"),
        ("asked", "- /a/b - ?q=1"),
        ("tree", "- /a/* -"),
        ("all", "- - -"),
    ]);
    for (path, query, possible) in [
        ("/a/b", None, &[1, 0, 3][..]),
        ("/a/b", Some("q=1"), &[2]),
        ("/a", None, &[1, 0, 3]),
        ("/c", None, &[4]),
    ] {
        assert_eq!(router.possible("h", path, query), possible, "{path} {query:?}");
    }
}

fn any_spec() -> impl Strategy<Value = MatchSpec> {
    let hosts = subsequence(vec!["a.example", "b.a.example", "*.example", "*.a.example"], 0..=2);
    let paths = subsequence(
        vec![
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/a/*",
            "/*",
            "/a/b/*",
            "/{x}",
            "/{x}/b",
            "/a/{x}",
            "/{x}/{y}",
            "/a/{*r}",
            "/{*r}",
            "/{x}/b/{*r}",
            "~^/a",
            "~b$",
        ],
        0..=3,
    );
    let methods = subsequence(vec!["GET", "HEAD", "POST"], 0..=2);
    let fields = subsequence(vec!["x-a=*", "x-a=1", "x-b=!", "?q=1", "?q=~^[12]$"], 0..=2);
    (hosts, paths, methods, fields).prop_map(|(hosts, paths, methods, fields)| {
        let list = |words: Vec<&str>| if words.is_empty() { "-".to_owned() } else { words.join(",") };
        let mut text = [list(hosts), list(paths), list(methods)].join(" ");
        fields.iter().for_each(|field| text.extend([" ", field]));
        spec(&text)
    })
}

fn any_request() -> impl Strategy<Value = String> {
    (
        select(vec!["GET", "HEAD", "POST", "PUT"]),
        select(vec!["", "example", "a.example", "b.a.example", "c.b.a.example", "other"]),
        select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/c", "/c/b", "/c/b/d", "/c//d", "*"]),
        select(vec!["", "?q=1", "?q=2&r", "?r"]),
        select(vec!["", " x-a:1", " x-a:2", " x-b:1"]),
    )
        .prop_map(|(method, host, path, query, field)| format!("{method} {host} {path}{query}{field}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_index_finds_what_asking_every_route_finds(
        specs in proptest::collection::vec(any_spec(), 1..12),
        requests in proptest::collection::vec(any_request(), 8),
    ) {
        let named = specs.into_iter().enumerate().map(|(at, spec)| (Arc::from(at.to_string()), spec));
        let router = Router::build(named.collect()).unwrap();
        let shadowed = router.shadowed();
        for request in requests {
            let (found, verdicts) = with_facts(&request, |facts| (router.find(facts), router.explain(facts)));
            prop_assert_eq!(found, verdicts.iter().position(|verdict| verdict.chosen), "{}", request);
            prop_assert_eq!(found.is_some(), verdicts.iter().any(|verdict| verdict.matched));
            let possible =
                with_facts(&request, |facts| router.possible(facts.host, facts.path, facts.query));
            prop_assert!(found.is_none_or(|found| possible.contains(&found)), "{:?} {}", possible, request);
            prop_assert!(shadowed.iter().all(|(never, _)| found != Some(*never)), "{:?} {}", shadowed, request);
        }
    }
}
