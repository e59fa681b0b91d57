//! JSON put together as text.
//!
//! Owns commas and the escaping of strings. Refuses trees: a body of 32 MiB is
//! written once, from borrowed parts. Invariant: what comes out is JSON as long
//! as what is opened is closed and raw values are JSON.

/// Writes one value, field by field.
#[derive(Debug, Default)]
pub(super) struct JsonOut(Vec<u8>);

impl JsonOut {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// A comma, unless this is the first of its list or object, or a field's value.
    /// No value ends in one of these bytes, so the last byte tells.
    fn next(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }

    pub(super) fn open(&mut self) -> &mut Self {
        self.next();
        self.0.push(b'{');
        self
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.0.push(b'}');
        self
    }

    pub(super) fn open_list(&mut self) -> &mut Self {
        self.next();
        self.0.push(b'[');
        self
    }

    pub(super) fn close_list(&mut self) -> &mut Self {
        self.0.push(b']');
        self
    }

    pub(super) fn key(&mut self, key: &str) -> &mut Self {
        self.text(key);
        self.0.push(b':');
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.next();
        serde_json::to_writer(&mut self.0, text).expect("memory takes whatever is written");
        self
    }

    /// A string of several pieces that need no copy before.
    pub(super) fn pieces(&mut self, pieces: &[&str]) -> &mut Self {
        self.next();
        self.0.push(b'"');
        for piece in pieces {
            // Written with its quotation marks, which the last bytes take the place of.
            let quoted = self.0.len() - 1;
            let before = self.0[quoted];
            self.0.truncate(quoted);
            serde_json::to_writer(&mut self.0, piece).expect("memory takes whatever is written");
            self.0[quoted] = before;
            self.0.pop();
        }
        self.0.push(b'"');
        self
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.next();
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    pub(super) fn field(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key).text(text)
    }

    pub(super) fn raw_field(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key).raw(json)
    }

    pub(super) fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.key(key).raw(&number.to_string())
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) -> &mut Self {
        self.key(key).raw(if flag { "true" } else { "false" })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn into_string(self) -> String {
        String::from_utf8(self.0).expect("only text was written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_and_nowhere_else() {
        let mut out = JsonOut::default();
        out.open().field("a", "x{").number("b", 1).key("c").open_list().text("[").raw("{}").open().close();
        out.close_list().flag("d", true).key("e").pieces(&["da\"ta", ":", "x"]).close();
        let text = out.into_string();
        assert_eq!(text, r#"{"a":"x{","b":1,"c":["[",{},{}],"d":true,"e":"da\"ta:x"}"#);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }
}
