//! What was asked, so that a test can look at it.

/// Which of the two addresses a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The hub itself: a token is at home here.
    Hub,
    /// The content network: a token must never come here.
    Cdn,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The address it came to.
    pub side: Side,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path, percent-decoded, without the query.
    pub path: String,
    /// Query, as it was.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Recorded {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}
