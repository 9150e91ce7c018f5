//! An admin request, read.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::Deserializer;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};

use crate::admin::api::{Problem, ProblemCode};
use crate::telemetry::filter::{Fields, Filter};

/// The largest request body in bytes.
const MAX_BODY: usize = 1 << 20;

/// How long a request body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request with its body.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    query: String,
    body: Bytes,
}

/// The filter that this text means; one that means none is shown with a caret where it goes wrong.
pub fn filter<T: Fields>(text: &str) -> Result<Filter, Problem> {
    Filter::parse::<T>(text).map_err(|error| {
        let mut problem = bad("the filter can't be understood").detail(&error);
        problem.rendered = Some(error.point(text));
        problem
    })
}

impl Asked {
    /// Reads the body, which is small or refused.
    pub async fn read(request: Request<Incoming>) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect())
            .await
            .map_err(|_| bad("the request body took too long"))?
            .map_err(|error| bad("the request body can't be read").detail(error))?
            .to_bytes();
        Ok(Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
        })
    }

    /// The body as JSON; an empty one counts as `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|error| bad("the request body is not what was expected").detail(error))
    }

    /// The query as the type that the path takes.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let pairs =
            url::form_urlencoded::parse(self.query.as_bytes()).map(|(name, value)| (name, Text(value)));
        T::deserialize(MapDeserializer::<_, serde::de::value::Error>::new(pairs))
            .map_err(|error| bad("the query is not what was expected").detail(error))
    }
}

/// A query parameter's value, read as whatever the field wants.
struct Text<'q>(Cow<'q, str>);

impl<'de> IntoDeserializer<'de, serde::de::value::Error> for Text<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_str(&self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_str(&self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self.0.as_ref().into_deserializer())
    }

    parsed!(deserialize_bool visit_bool, deserialize_u32 visit_u32, deserialize_u64 visit_u64);

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn bad(title: &str) -> Problem {
    Problem::new(ProblemCode::BadRequest, title)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        key: String,
        limit: Option<u64>,
        #[serde(default)]
        follow: bool,
    }

    fn read(query: &str) -> Result<Wanted, Problem> {
        let asked =
            Asked { method: Method::GET, path: String::new(), query: query.to_owned(), body: Bytes::new() };
        asked.query()
    }

    #[test]
    fn a_query_is_read_as_its_fields_want() {
        let wanted = Wanted { key: "12345".into(), limit: Some(7), follow: true };
        assert_eq!(read("key=12345&limit=7&follow=true"), Ok(wanted));
        assert_eq!(read("key=a%20b"), Ok(Wanted { key: "a b".into(), limit: None, follow: false }));
        assert_eq!(read("key=a&limit=x").unwrap_err().code, ProblemCode::BadRequest);
        assert_eq!(read("limit=1").unwrap_err().detail.as_deref(), Some("missing field `key`"));
    }
}
