//! `cache explain` against the running instance.

use serde_json::Value;

use crate::support::{Answer, Client, Origin, Place, Proxy, eventually, get};

struct Scene {
    place: Place,
    proxy: Proxy,
    origin: Origin,
}

const CONFIG: &str = "\
[[routes]]
name = \"timed\"
match = { path = \"/timed/*\" }
cache = \"short\"

[[routes]]
name = \"keyed\"
match = { path = \"/keyed\" }
cache = { key = { headers = [\"x-tenant\"] } }

[[routes]]
name = \"off\"
match = { path = \"/off\" }
cache = false

[policies.short]
ttl = \"10m\"
";

fn scene() -> Scene {
    let place = Place::new();
    let origin = Origin::new(|asked| match asked.target.split('?').next().unwrap_or_default() {
        "/private" => Answer::new("mine").with("Cache-Control", "private"),
        "/timed/a" => Answer::new("no word of caching"),
        "/vary" => Answer::fresh("v", 600).with("Vary", "Accept-Language"),
        "/both" => Answer::new("b").with("Cache-Control", "s-maxage=600, stale-while-revalidate=60"),
        _ => Answer::fresh("hello", 600).with("ETag", "\"v1\"").with("Cache-Tag", "greeting"),
    });
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{CONFIG}", origin.url()));
    proxy.store_is(&place, "open");
    for target in ["/a?x=1", "/timed/a", "/vary", "/both", "/keyed"] {
        get(proxy.address, target);
    }
    eventually("all is stored", || (place.items(&["cache", "ls"]).len() == 5).then_some(()));
    Scene { place, proxy, origin }
}

impl Scene {
    fn told(&self, args: &[&str]) -> Value {
        self.place.items(&[&["cache", "explain"], args].concat()).remove(0)
    }

    fn text(&self, args: &[&str]) -> String {
        self.place.print(&[&["cache", "explain"], args].concat())
    }
}

fn url(target: &str) -> String {
    format!("http://stone.test{target}")
}

#[test]
fn a_hit_is_told_with_its_numbers_and_whose_word_it_is() {
    let scene = scene();
    let told = scene.told(&[&url("/a?x=1")]);
    assert_eq!((&told["verdict"], &told["route"]["name"]), (&"hit".into(), &"default".into()), "{told}");
    assert_eq!(told["entry"]["lifetime_s"], 600);
    assert_eq!(told["entry"]["grounds"][0]["rule"], "RFC 9111 5.2.2.1");
    assert_eq!(told["entry"]["grounds"][0]["field"], "Cache-Control: max-age=600");
    let age = told["entry"]["age_s"].as_u64().unwrap();
    let parts =
        [&told["entry"]["initial_age_s"], &told["entry"]["resident_s"]].map(|part| part.as_u64().unwrap());
    assert_eq!(age, parts.iter().sum::<u64>(), "{told}");
    let names: Vec<_> = told["key"]["parts"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
    assert_eq!(names, ["upstream", "scheme", "host", "target"]);
    assert_eq!(told["key"]["digest"], told["entry"]["key"]);

    let text = scene.text(&["GET", &url("/a?x=1")]);
    assert!(text.starts_with("HIT: fresh for "), "{text}");
    for part in [
        "\nRequest\n",
        "\nKey\n",
        "\nStored response\n",
        "Cache-Control: max-age=600",
        "RFC 9111 5.2.2.1",
        "not",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours in a pipe: {text}");
    let coloured = scene.text(&[&url("/a?x=1"), "--color", "always"]);
    assert!(coloured.starts_with('\u{1b}'), "{coloured}");
    assert_eq!(scene.text(&[&url("/a?x=1"), "-q"]).lines().count(), 1);
}

#[test]
fn the_config_is_quoted_by_file_and_line_also_after_a_reload() {
    let scene = scene();
    let ground = |scene: &Scene| scene.told(&[&url("/timed/a")])["entry"]["grounds"][0].clone();
    let first = ground(&scene);
    assert_eq!(first["rule"], "policy", "{first}");
    assert_eq!(first["config"]["key"], "policies.short.ttl");
    assert_eq!(first["config"]["value"], "\"10m\"");
    let line = |ground: &Value| -> usize {
        let at = ground["config"]["at"].as_str().unwrap();
        at.rsplit_once("proxy-stone.toml:").unwrap().1.parse().unwrap()
    };
    let config = std::fs::read_to_string(scene.place.path("proxy-stone.toml")).unwrap();
    let standing = |config: &str| config.lines().position(|line| line.starts_with("ttl")).unwrap() + 1;
    assert_eq!(line(&first), standing(&config));

    let moved = format!("# a line more\n\n{config}");
    scene.place.write("proxy-stone.toml", &moved);
    scene.place.print(&["reload"]);
    assert_eq!(line(&ground(&scene)), standing(&moved));

    let off = scene.told(&[&url("/off")]);
    assert_eq!(off["verdict"], "bypass");
    assert_eq!(off["why"][0]["config"]["value"], "false", "{off}");
}

#[test]
fn a_miss_shows_the_nearest_keys_and_keeps_secrets() {
    let scene = scene();
    let told = scene.told(&[&url("/a?x=2")]);
    assert_eq!(told["verdict"], "miss");
    let near = &told["nearest"][0];
    assert_eq!(near["url"], url("/a?x=1"));
    assert_eq!(near["differs"][0]["part"], "query x");
    assert_eq!((&near["differs"][0]["asked"], &near["differs"][0]["stored"]), (&"2".into(), &"1".into()));

    let keyed = scene.told(&[&url("/keyed"), "-H", "X-Tenant: secret-one"]);
    assert_eq!(keyed["verdict"], "miss");
    assert_eq!(keyed["nearest"][0]["differs"][0]["part"], "x-tenant");
    assert_eq!(keyed["nearest"][0]["differs"][0]["hidden"], "only_asked");
    assert!(!keyed.to_string().contains("secret-one"), "{keyed}");

    let other = scene.told(&["http://other.test/a?x=1"]);
    assert_eq!(other["nearest"][0]["differs"][0]["part"], "host", "{other}");

    let text = scene.text(&[&url("/a?x=2")]);
    assert!(text.contains("query x is 1, not 2"), "{text}");
}

#[test]
fn variants_conditions_and_lost_windows_are_told() {
    let scene = scene();
    let vary = scene.told(&[&url("/vary"), "-H", "Accept-Language: de"]);
    assert_eq!(vary["verdict"], "miss", "{vary}");
    assert_eq!(vary["variants"][0]["fields"][0]["compared"], "only_asked");

    let asked = scene.told(&[&url("/a?x=1"), "-H", "Cache-Control: no-cache"]);
    assert_eq!(asked["verdict"], "validate");
    assert_eq!(asked["conditions"][0], serde_json::json!(["If-None-Match", "\"v1\""]));
    assert_eq!(asked["why"][0]["rule"], "RFC 9111 5.2.1.4");
    assert_eq!(asked["why"][0]["field"], "Cache-Control: no-cache");

    let both = scene.text(&[&url("/both")]);
    assert!(both.contains("do nothing") && both.contains("stale_despite_s_maxage"), "{both}");

    get(scene.proxy.address, "/private");
    let unshared = scene.told(&[&url("/private")]);
    assert!(unshared["unshared_ms"].as_u64().unwrap() <= 10_000, "{unshared}");

    scene.place.print(&["cache", "purge", &url("/a?x=1"), "--soft", "-y"]);
    let purged = scene.told(&[&url("/a?x=1")]);
    assert_eq!((&purged["verdict"], &purged["entry"]["soft_purged"]), (&"validate".into(), &true.into()));
    assert_eq!(purged["why"][0]["rule"], "purge");
    assert_eq!(scene.origin.hits("/a?x=1"), 1, "nothing of all this asked the origin");
}

#[test]
fn expectations_and_supposed_replies() {
    let scene = scene();
    let code = |args: &[&str]| scene.place.run(&[&["cache", "explain"], args].concat()).code;
    let hit = url("/a?x=1");
    assert_eq!(code(&[&hit, "--expect", "hit"]), 0);
    assert_eq!(code(&["GET", &hit, "--expect", "miss"]), 1);
    assert_eq!(code(&["POST", &hit, "--expect", "bypass"]), 0);
    assert_eq!(code(&[&hit, "-H", "Pragma: no-cache", "--expect", "miss"]), 0, "validating asks the origin");
    assert_eq!(code(&[&hit, "--expect", "colour"]), 2);
    assert_eq!(code(&["ftp://a/"]), 2);
    assert_eq!(code(&["GET", "POST", "PUT"]), 2);

    let supposed = |fields: &[&str]| {
        let fields: Vec<&str> = fields.iter().flat_map(|field| ["--response-header", field]).collect();
        scene.told(&[&[url("/new").as_str()], &fields[..]].concat())["reply"].clone()
    };
    let stored = supposed(&["Cache-Control: max-age=60", "Age: 20"]);
    assert_eq!((&stored["stored"], &stored["lifetime_s"]), (&true.into(), &60.into()), "{stored}");
    assert_eq!(stored["headline"], "it would be stored, fresh for 40 s");
    let refused = supposed(&["Cache-Control: private, max-age=60"]);
    assert_eq!((&refused["stored"], &refused["skip"]), (&false.into(), &"private".into()), "{refused}");
    assert_eq!(refused["grounds"][0]["rule"], "RFC 9111 5.2.2.7");
    assert_eq!(scene.told(&[&url("/new"), "--status", "302"])["reply"]["skip"], "status");
}

#[test]
fn a_past_request_is_explained_by_its_id() {
    let scene = scene();
    for target in ["/a?x=1", "/private", "/new"] {
        get(scene.proxy.address, target);
    }
    let logged = |target: &str, nth: usize| {
        let of = |item: &&Value| item["target"] == target;
        scene.place.items(&["logs"]).iter().filter(of).nth(nth).unwrap().clone()
    };
    let past = |id: &Value| scene.told(&["--request", id.as_str().unwrap()]);

    let (first, hit) = (logged("/a?x=1", 0), logged("/a?x=1", 1));
    let told = past(&first["id"]);
    assert_eq!(
        (&told["exchange"]["cache"], &told["exchange"]["forward"]),
        (&"miss".into(), &"uri-miss".into())
    );
    assert_eq!(told["exchange"]["reply"]["cache-control"], "max-age=600", "{told}");
    assert_eq!(told["exchange"]["reply"]["etag"], "", "of a tag only that it was there");
    assert_eq!(told["stored"][0]["key"], told["exchange"]["key"]);
    let told = past(&hit["id"]);
    assert_eq!(
        (&told["exchange"]["lifetime_s"], &told["exchange"]["lifetime_from"]),
        (&600.into(), &"max-age".into())
    );
    assert!(told["headline"].as_str().unwrap().starts_with("HIT: it was fresh for "), "{told}");
    assert_eq!(told["exchange"]["reply"], Value::Null, "a hit brings no fields along");

    let private = logged("/private", 0);
    let told = past(&private["id"]);
    assert_eq!(told["exchange"]["detail"], "private");
    let ground = told["grounds"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&ground["rule"], &ground["field"]),
        (&"RFC 9111 5.2.2.7".into(), &"Cache-Control: private".into())
    );
    assert_eq!(told["stored"].as_array().unwrap().len(), 0);

    let id = private["id"].as_str().unwrap();
    let run = |args: &[&str]| scene.place.run(&[&["cache", "explain"], args].concat());
    assert_eq!(run(&["--request", id, "--expect", "miss"]).code, 0);
    assert_eq!(run(&["--request", id, "--expect", "hit"]).code, 1);
    assert_eq!(run(&["--request", id, "/a"]).code, 2);
    let text = scene.text(&["--request", id]);
    assert!(text.starts_with("MISS: ") && text.contains("Cache-Control: private"), "{text}");
    let unknown = run(&["--request", "019aa8c2-6f0e-7c31-a2f4-5d41402abc4b"]);
    assert_eq!(unknown.code, 4);
    assert!(unknown.stderr.contains("ring"), "{unknown:?}");
}

const RANGED: &str = "\
[[routes]]
name = \"sliced\"
match = { path = \"/sliced/*\" }
cache = { slice = \"64KiB\" }

[[routes]]
name = \"guarded\"
match = { path = \"/guarded\" }
cache = { leak_guard = true }
";

/// A proxy before an origin that serves ranges of 200 000 bytes.
fn ranged() -> Scene {
    let place = Place::new();
    let origin = Origin::new(|asked| {
        let whole = Answer::fresh(vec![b'x'; 200_000], 600).with("ETag", "\"v1\"");
        whole.with("Cache-Groups", "\"films\", \"old\"").ranged(asked)
    });
    let proxy = Proxy::configured(&place, &format!("upstream = \"{}\"\n{RANGED}", origin.url()));
    proxy.store_is(&place, "open");
    Scene { place, proxy, origin }
}

impl Scene {
    fn range(&self, target: &str, range: &str) {
        let mut client = Client::connect(self.proxy.address).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: stone.test\r\nRange: bytes={range}\r\n\r\n");
        assert_eq!(client.ask(&request).unwrap().status, 206);
    }

    fn stores(&self, entries: usize) {
        let stored = || (self.place.items(&["cache", "ls"]).len() == entries).then_some(());
        eventually("all is stored", stored);
    }
}

#[test]
fn slices_are_told_with_what_requests_take_of_them() {
    let scene = ranged();
    let target = url("/sliced/film");
    let nothing = scene.told(&[&target]);
    assert_eq!((&nothing["verdict"], &nothing["slices"]["stored"]), (&"miss".into(), &0.into()), "{nothing}");
    assert_eq!(nothing["why"][0]["config"]["key"], "routes[0].cache.slice", "{nothing}");
    assert_eq!(nothing["headline"], "MISS: none of its slices is stored");

    scene.range("/sliced/film", "70000-140000");
    scene.stores(2);
    let within = scene.told(&[&target, "-H", "Range: bytes=80000-130000"]);
    assert_eq!(within["verdict"], "hit", "{within}");
    let slices = &within["slices"];
    assert_eq!(
        (&slices["length"], &slices["count"], &slices["stored"]),
        (&200_000.into(), &4.into(), &2.into())
    );
    let run = serde_json::json!([{ "first": 65_536, "last": 196_607, "slices": 2, "state": "fresh" }]);
    assert_eq!(slices["runs"], run);
    assert_eq!(slices["request"]["fresh"], 1, "{slices}");
    assert_eq!(slices["without_range"]["fetches"], serde_json::json!([[0, 65_535], [196_608, 199_999]]));
    assert_eq!(within["entry"]["groups"], serde_json::json!(["films", "old"]));

    let over = [target.as_str(), "-H", "Range: bytes=80000-199999"];
    let text = scene.text(&over);
    for part in [
        "MISS: 2 of 3 slices that it takes are stored; 1 is fetched",
        "64.0 KiB, 4 of them make the whole of 200000 bytes",
        "2: 131072 of 200000 bytes",
        "bytes 65536-196607 fresh",
        "bytes 80000-199999: 3 slices, 2 from the store, 1 fetched (bytes 196608-199999)",
        "bytes 0-199999: 4 slices, 2 from the store, 2 fetched (bytes 0-65535, 196608-199999)",
        "films, old",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let code = |args: &[&str], outcome: &str| {
        scene.place.run(&[&["cache", "explain"], args, &["--expect", outcome, "-q"]].concat()).code
    };
    assert_eq!((code(&over, "miss"), code(&over, "hit")), (0, 1));
    assert_eq!(code(&[&target, "-H", "Range: bytes=80000-130000"], "hit"), 0);
    assert_eq!(scene.origin.hits("/sliced/film"), 2, "nothing of all this asked the origin");

    scene.range("/sliced/film", "80000-130000");
    let logged = scene.place.items(&["logs"]);
    let id = logged.last().unwrap()["id"].as_str().unwrap();
    let past = scene.told(&["--request", id]);
    assert!(past["grounds"].to_string().contains("answered slice by slice"), "{past}");
}

#[test]
fn stored_parts_and_the_leak_guard_are_told() {
    let scene = ranged();
    scene.range("/film", "100-999");
    scene.stores(1);
    let told = scene.told(&[&url("/film"), "-H", "Range: bytes=500-1999"]);
    assert_eq!(told["headline"], "MISS: a part is stored, and the rest is fetched", "{told}");
    assert_eq!(told["entry"]["parts"], serde_json::json!([[100, 999]]));
    assert_eq!(told["entry"]["missing"], serde_json::json!([1000, 1999]));
    let asked = serde_json::json!([["Range", "bytes=1000-1999"], ["If-Range", "\"v1\""]]);
    assert_eq!(told["conditions"], asked);
    let text = scene.text(&[&url("/film"), "-H", "Range: bytes=500-1999"]);
    assert!(text.contains("bytes 1000-1999, the rest of the reply comes from the parts"), "{text}");

    get(scene.proxy.address, "/guarded");
    scene.stores(2);
    let own = scene.told(&[&url("/guarded")]);
    assert_eq!(own["guard"], serde_json::json!({ "standing": "free", "cleared": true }), "{own}");
    let other = scene.told(&[&url("/guarded"), "-H", "Cookie: id=7"]);
    assert_eq!(other["guard"]["cleared"], false, "{other}");
    let text = scene.text(&[&url("/guarded"), "-H", "Cookie: id=7"]);
    for part in ["\nLeak guard\n", "free: nothing is said against it", "not seen to be the same"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert_eq!(scene.told(&[&url("/film")])["guard"], Value::Null, "the route is not guarded");
}
