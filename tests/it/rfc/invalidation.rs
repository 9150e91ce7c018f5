//! What unsafe requests end (RFC 9111 4.4).

use super::{Case, Table, case, tables};

tables!(methods, statuses, related);

const RULE: &str = "RFC 9111 4.4";
const FRESH: &str = "Cache-Control: max-age=60";

fn stored(name: impl Into<String>) -> Case {
    case(RULE, name).says(&[FRESH]).get().misses()
}

/// Which methods do it, unknown ones among them.
fn methods() -> Table {
    let mut cases = Vec::new();
    for method in ["PUT", "DELETE", "POST", "PATCH", "M-SEARCH", "FOO", "LOCK", "MKCOL", "get"] {
        cases.push(
            stored(format!("{method} ends it"))
                .asks(method, &[])
                .status(200)
                .field("cache-status", "proxy-stone; fwd=method")
                .get()
                .misses(),
        );
        cases.push(
            case(RULE, format!("{method} ends all variants"))
                .says(&[FRESH, "Vary: Foo"])
                .get_with(&["Foo: 1"])
                .misses()
                .get_with(&["Foo: 2"])
                .misses()
                .asks(method, &["Foo: 3"])
                .status(200)
                .get_with(&["Foo: 1"])
                .misses()
                .get_with(&["Foo: 2"])
                .misses(),
        );
    }
    for method in ["OPTIONS", "TRACE", "HEAD", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
        cases.push(stored(format!("{method} is safe")).asks(method, &[]).get().hits());
    }
    cases.push(
        stored("what is stale is not kept for bad days either")
            .asks("PUT", &[])
            .says_nothing()
            .get()
            .status(502),
    );
    cases.push(stored("other targets stay").asks("PUT", &[]).at("?other").status(200).get().hits());
    cases.push(
        case("RFC 9111 4", "unsafe requests are written through")
            .says(&[FRESH])
            .asks("PUT", &[])
            .misses()
            .asks("PUT", &[])
            .misses()
            .body("reply 2"),
    );
    Table::of(cases)
}

/// A non-error reply does, no other.
fn statuses() -> Table {
    let mut cases = Vec::new();
    for status in [200, 201, 202, 204, 299, 301, 302, 303, 307, 308, 399] {
        cases.push(
            stored(format!("{status} ends it"))
                .replies(status, &[])
                .asks("PUT", &[])
                .status(status)
                .says(&[FRESH])
                .get()
                .misses(),
        );
    }
    for status in [400, 404, 409, 412, 500, 503, 599] {
        cases.push(
            stored(format!("{status} does not"))
                .replies(status, &[])
                .asks("DELETE", &[])
                .status(status)
                .get()
                .hits(),
        );
    }
    cases.push(stored("nor does no reply").says_nothing().asks("DELETE", &[]).status(502).get().hits());
    Table::of(cases)
}

/// `Location` and `Content-Location` of the same origin. The client calls it `api.test`.
fn related() -> Table {
    let mut cases = Vec::new();
    for field in ["Location", "Content-Location"] {
        for (reference, ends) in [
            ("?rel", true),
            ("http://api.test/{}?rel", true),
            ("HTTP://API.test:80/{}?rel#part", true),
            ("//api.test/{}?rel", true),
            ("https://api.test/{}?rel", false),
            ("http://api.test:81/{}?rel", false),
            ("http://www.api.test/{}?rel", false),
            ("http://evil.test/{}?rel", false),
            ("?other", false),
        ] {
            cases.push(Related { field, reference, ends });
        }
    }
    Table::of(cases.into_iter().enumerate().map(|(at, related)| related.case(at)).collect())
}

struct Related {
    field: &'static str,
    reference: &'static str,
    ends: bool,
}

impl Related {
    /// The case that stands at this place in its table, and so under this path.
    fn case(&self, at: usize) -> Case {
        let field = format!("{}: {}", self.field, self.reference.replace("{}", &at.to_string()));
        let asked = case(RULE, field.clone())
            .says(&[FRESH])
            .get()
            .at("?rel")
            .misses()
            .replies(201, &[&field])
            .asks("POST", &[])
            .status(201)
            .says(&[FRESH])
            .get()
            .at("?rel");
        if self.ends { asked.misses() } else { asked.hits() }
    }
}
