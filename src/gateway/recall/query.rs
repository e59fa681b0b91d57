//! What the query of a request for a kept response says.
//!
//! Owns the names that are read here; others are for whoever made the response.
//! Invariant: a value that cannot be read is refused by its name, never ignored.

use crate::domain::failure::Observation;

/// Items of a page, unless the client says another number (OpenAI API reference, "List input items").
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 100;

/// Of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub stream: bool,
    /// Events up to this number are known already.
    pub starting_after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Oldest,
    Newest,
}

/// Of a list of items.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub order: Order,
    pub limit: usize,
    pub after: Option<String>,
}

impl Wanted {
    /// # Errors
    /// Which value cannot be read.
    pub fn read(query: Option<&str>) -> Result<Self, Observation> {
        let mut wanted = Self::default();
        for (name, value) in pairs(query) {
            match name {
                "stream" => wanted.stream = flag(name, value)?,
                "starting_after" => {
                    let number = value.parse().map_err(|_| refused(name, "must be a sequence number"))?;
                    wanted.starting_after = Some(number);
                }
                _ => {}
            }
        }
        Ok(wanted)
    }
}

impl Page {
    /// # Errors
    /// Which value cannot be read.
    pub fn read(query: Option<&str>) -> Result<Self, Observation> {
        let mut page = Self { order: Order::Newest, limit: LIMIT, after: None };
        for (name, value) in pairs(query) {
            match name {
                "order" => {
                    page.order = match value {
                        "asc" => Order::Oldest,
                        "desc" => Order::Newest,
                        _ => return Err(refused(name, "must be `asc` or `desc`")),
                    }
                }
                "limit" => {
                    let number = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    page.limit = number.ok_or_else(|| refused(name, "must be a number from 1 to 100"))?;
                }
                "after" => {
                    let id = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
                    page.after = Some(id.into_owned());
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let all = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    all.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn flag(name: &str, value: &str) -> Result<bool, Observation> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refused(name, "must be `true` or `false`")),
    }
}

/// A value that cannot be read.
pub fn refused(name: &str, why: &str) -> Observation {
    Observation::Invalid { field: Some(name.to_owned()), offset: None, detail: format!("`{name}` {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        let field = |observation| match observation {
            Observation::Invalid { field, .. } => field,
            other => panic!("{other:?}"),
        };
        for (query, name) in [("stream=yes", "stream"), ("stream=true&starting_after=-1", "starting_after")] {
            assert_eq!(field(Wanted::read(Some(query)).expect_err(query)).as_deref(), Some(name));
        }
        for (query, name) in [("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order")] {
            assert_eq!(field(Page::read(Some(query)).expect_err(query)).as_deref(), Some(name));
        }
        let wanted = Wanted { stream: true, starting_after: Some(4) };
        assert_eq!(Wanted::read(Some("include[]=x&stream=true&starting_after=4")), Ok(wanted));
        let page = Page { order: Order::Oldest, limit: 7, after: Some("msg_1".to_owned()) };
        assert_eq!(Page::read(Some("order=asc&limit=7&after=msg%5F1")), Ok(page));
    }
}
