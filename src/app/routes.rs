//! `route ls` and `route test`: the routes as people read them, and which one takes a request.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::control::mode_word;
use crate::admin::api::{Route, RouteTest, RouteTestReply, RouteVerdict};
use crate::http::target::Target;
use crate::pipeline::Site;
use crate::route::Facts;

/// All routes in their order of precedence.
pub(super) fn list(site: &Site) -> Vec<Route> {
    let shadowed = site.router.shadowed();
    site.router
        .precedence()
        .into_iter()
        .enumerate()
        .map(|(order, position)| {
            let route = &site.routes[position];
            let matcher = &route.matcher;
            Route {
                order: order + 1,
                name: route.name.to_string(),
                hosts: matcher.hosts.iter().map(ToString::to_string).collect(),
                paths: matcher.paths.iter().map(ToString::to_string).collect(),
                methods: matcher.methods.iter().map(ToString::to_string).collect(),
                headers: matcher.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
                query: matcher.query.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                upstream: route.upstream_name.to_string(),
                mode: mode_word(route.cache.mode).to_owned(),
                policy: route.cache.policy.as_ref().map(ToString::to_string),
                ttl_s: route.cache.rules.ttl,
                shadowed_by: shadowed
                    .iter()
                    .find(|(lost, _)| *lost == position)
                    .map(|(_, by)| site.routes[*by].name.to_string()),
            }
        })
        .collect()
}

/// Which route takes a request that nobody sends; a path alone is asked of `host`.
pub(super) fn test(site: &Site, host: &str, test: &RouteTest) -> Result<RouteTestReply, String> {
    let method = Method::from_bytes(test.method.as_bytes())
        .map_err(|_| format!("`{}` is not a method", test.method))?;
    let headers = fields(&test.headers)?;
    let mut request = Request::builder()
        .method(method)
        .uri(&test.url)
        .body(())
        .map_err(|_| format!("`{}` is neither an absolute URL nor a path", test.url))?;
    *request.headers_mut() = headers;
    let (mut head, ()) = request.into_parts();
    if !head.headers.contains_key(http::header::HOST) {
        let host = head.uri.authority().map_or(host, |authority| authority.as_str());
        head.headers
            .insert(http::header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
    }
    let tls = head.uri.scheme_str() == Some("https");
    let target = Target::of(&head, tls).map_err(|error| error.to_string())?;
    let facts = Facts {
        host: target.host(),
        path: target.path(),
        method: &head.method,
        headers: &head.headers,
        query: target.query(),
    };
    let verdicts: Vec<RouteVerdict> = site
        .router
        .explain(&facts)
        .into_iter()
        .map(|verdict| RouteVerdict {
            route: verdict.route.to_string(),
            matches: verdict.matched,
            taken: verdict.chosen,
            reason: verdict
                .reason
                .map_or_else(|| "the most specific match".to_owned(), |reason| reason.to_string()),
        })
        .collect();
    let taken = site.router.find(&facts).map(|position| &site.routes[position]);
    Ok(RouteTestReply {
        route: taken.map(|route| route.name.to_string()),
        upstream: taken.map(|route| route.upstream_name.to_string()),
        mode: taken.map(|route| mode_word(route.cache.mode).to_owned()),
        key: taken.map(|route| route.key_text(&target)),
        verdicts,
    })
}

fn fields(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let field = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a field name"))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of `{name}` is not a field value"))?;
        headers.append(field, value);
    }
    Ok(headers)
}
