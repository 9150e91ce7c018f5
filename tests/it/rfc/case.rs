//! A case: what the origin says, what clients ask, how much time passes, and what must come of it.

/// A case of a table: steps in their order.
#[derive(Clone, Debug)]
pub struct Case {
    /// The section that it shows: `RFC 9111 4.2.1`.
    pub rule: &'static str,
    /// What is shown.
    pub name: String,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// From here on the origin answers so.
    Says(Said),
    /// The clock moves by so many seconds.
    Pass(u64),
    /// A request, and what must come of it.
    Asks(Ask),
}

/// What the origin answers.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A reply framed by its length; without a body of its own, one that says how often the origin was asked. To a
    /// condition that holds for its `ETag` or `Last-Modified` it answers 304 instead.
    Reply { status: u16, fields: Vec<String>, body: Option<String>, delay: u64 },
    /// These bytes, and then the end of the connection if `close`.
    Bytes { text: String, close: bool },
    /// Nothing: the connection is closed.
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: String,
    /// Appended to the case's own path.
    pub(super) suffix: String,
    pub(super) fields: Vec<String>,
    pub(super) body: String,
    pub(super) expected: Vec<Expected>,
}

/// What must come of a request.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// The origin was not asked.
    Hit,
    /// The origin was asked, and its reply is the client's.
    Miss,
    /// The origin was asked with a condition, said 304, and what is stored was sent.
    Validated,
    Status(u16),
    Body(String),
    /// A field's only value; dates as in replies.
    Field(String, String),
    /// All values of a field, in their order.
    Fields(String, Vec<String>),
    Lacks(String),
    Trailer(String, Option<String>),
    /// The client can tell that the reply broke off.
    Broken,
    /// What the origin was asked had this field's only value; `None`: not at all.
    Forwarded(String, Option<String>),
    /// The interim replies before this one, by status.
    Interim(Vec<u16>),
}

/// A case, still without steps.
///
/// In fields, `{+60}` stands for the HTTP date sixty seconds from when it is said.
pub fn case(rule: &'static str, name: impl Into<String>) -> Case {
    Case { rule, name: name.into(), steps: Vec::new() }
}

/// A reply with these fields is stored, and answers the same request a second later.
pub fn reused(rule: &'static str, name: impl Into<String>, fields: &[&str]) -> Case {
    case(rule, name).says(fields).get().misses().pass(1).get().hits()
}

/// A reply with these fields does not answer the same request later, not even validated.
pub fn refetched(rule: &'static str, name: impl Into<String>, fields: &[&str]) -> Case {
    case(rule, name).says(fields).get().misses().pass(1).get().misses()
}

/// A reply with these fields and a tag is stored, but must be validated a second later.
pub fn validated(rule: &'static str, name: impl Into<String>, fields: &[&str]) -> Case {
    let tagged = [fields, &["ETag: \"tag\""]].concat();
    case(rule, name).says(&tagged).get().misses().pass(1).get().validates()
}

#[allow(dead_code)] // the vocabulary of all tables
impl Case {
    /// From here on the origin says 200 with these fields.
    pub fn says(self, fields: &[&str]) -> Self {
        self.replies(200, fields)
    }

    /// From here on the origin says this.
    pub fn replies(self, status: u16, fields: &[&str]) -> Self {
        self.step(Step::Says(Said::Reply { status, fields: owned(fields), body: None, delay: 0 }))
    }

    /// The reply just given has this body.
    pub fn with_body(mut self, text: &str) -> Self {
        if let Some(Step::Says(Said::Reply { body, .. })) = self.steps.last_mut() {
            *body = Some(text.to_owned());
        }
        self
    }

    /// The reply just given takes so many seconds.
    pub fn delayed(mut self, seconds: u64) -> Self {
        if let Some(Step::Says(Said::Reply { delay, .. })) = self.steps.last_mut() {
            *delay = seconds;
        }
        self
    }

    /// From here on the origin says these bytes; the connection goes on.
    pub fn says_bytes(self, text: &str) -> Self {
        self.step(Step::Says(Said::Bytes { text: text.to_owned(), close: false }))
    }

    /// From here on the origin says these bytes and closes the connection.
    pub fn says_and_closes(self, text: &str) -> Self {
        self.step(Step::Says(Said::Bytes { text: text.to_owned(), close: true }))
    }

    /// From here on the origin closes the connection without a word.
    pub fn says_nothing(self) -> Self {
        self.step(Step::Says(Said::Nothing))
    }

    /// Time passes.
    pub fn pass(self, seconds: u64) -> Self {
        self.step(Step::Pass(seconds))
    }

    /// A GET without fields of its own.
    pub fn get(self) -> Self {
        self.asks("GET", &[])
    }

    /// A GET with these fields.
    pub fn get_with(self, fields: &[&str]) -> Self {
        self.asks("GET", fields)
    }

    /// A request with these fields.
    pub fn asks(self, method: &str, fields: &[&str]) -> Self {
        self.step(Step::Asks(Ask {
            method: method.to_owned(),
            suffix: String::new(),
            fields: owned(fields),
            body: String::new(),
            expected: Vec::new(),
        }))
    }

    /// The request just made has this body.
    pub fn sending(mut self, text: &str) -> Self {
        self.ask().body = text.to_owned();
        self
    }

    /// The request just made is for this case's path with something behind it, such as a query.
    pub fn at(mut self, suffix: &str) -> Self {
        self.ask().suffix = suffix.to_owned();
        self
    }

    /// The origin is not asked.
    pub fn hits(self) -> Self {
        self.expect(Expected::Hit)
    }

    /// The origin is asked and its reply is the client's.
    pub fn misses(self) -> Self {
        self.expect(Expected::Miss)
    }

    /// The origin says 304 and what is stored is sent.
    pub fn validates(self) -> Self {
        self.expect(Expected::Validated)
    }

    pub fn status(self, status: u16) -> Self {
        self.expect(Expected::Status(status))
    }

    pub fn body(self, text: &str) -> Self {
        self.expect(Expected::Body(text.to_owned()))
    }

    /// The reply has this field once.
    pub fn field(self, name: &str, value: &str) -> Self {
        self.expect(Expected::Field(name.to_owned(), value.to_owned()))
    }

    /// The reply has this field with these values in this order.
    pub fn fields(self, name: &str, values: &[&str]) -> Self {
        self.expect(Expected::Fields(name.to_owned(), owned(values)))
    }

    /// The reply does not have this field.
    pub fn lacks(self, name: &str) -> Self {
        self.expect(Expected::Lacks(name.to_owned()))
    }

    /// The reply has this trailer field.
    pub fn trailer(self, name: &str, value: &str) -> Self {
        self.expect(Expected::Trailer(name.to_owned(), Some(value.to_owned())))
    }

    /// The reply does not have this trailer field.
    pub fn lacks_trailer(self, name: &str) -> Self {
        self.expect(Expected::Trailer(name.to_owned(), None))
    }

    /// The reply breaks off, and the client can tell.
    pub fn breaks(self) -> Self {
        self.expect(Expected::Broken)
    }

    /// The origin was asked with this field once.
    pub fn forwards(self, name: &str, value: &str) -> Self {
        self.expect(Expected::Forwarded(name.to_owned(), Some(value.to_owned())))
    }

    /// The origin was asked without this field.
    pub fn keeps_back(self, name: &str) -> Self {
        self.expect(Expected::Forwarded(name.to_owned(), None))
    }

    /// These interim replies come before it.
    pub fn interim(self, statuses: &[u16]) -> Self {
        self.expect(Expected::Interim(statuses.to_vec()))
    }

    fn expect(mut self, expected: Expected) -> Self {
        self.ask().expected.push(expected);
        self
    }

    fn ask(&mut self) -> &mut Ask {
        match self.steps.last_mut() {
            Some(Step::Asks(ask)) => ask,
            _ => panic!("{}: what is expected follows a request", self.name),
        }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
