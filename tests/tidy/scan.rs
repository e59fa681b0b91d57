//! Source as text: code without comments and literals, functions, lines.

/// One file, as it is and as code alone.
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
    /// The same lines, with comments and the insides of literals blanked out.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The first part of the path below `src`: a folder or a file.
    pub fn room(&self) -> &str {
        let below = self.path.trim_start_matches("src/");
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// Code without the trailing `#[cfg(test)] mod tests` block; a file of tests has none.
    pub fn own_code(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        self.code.find("\n#[cfg(test)]\nmod tests").map_or(&self.code, |end| &self.code[..end])
    }

    pub fn own_lines(&self) -> usize {
        self.own_code().lines().count()
    }
}

/// A function as text: from the line with `fn` to its closing brace.
pub struct Function<'a> {
    pub line: usize,
    pub indent: usize,
    pub lines: Vec<&'a str>,
}

impl Function<'_> {
    pub fn name(&self) -> String {
        let after = self.lines[0].split("fn ").nth(1).unwrap_or_default();
        after.chars().take_while(|c| is_word(*c)).collect()
    }

    /// One match of one-line arms (rustfmt may wrap an arm into three lines), with
    /// little beside it: long, but read at a glance.
    pub fn is_flat_match(&self) -> bool {
        let statements = self.lines.iter().filter(|line| line.contains(';')).count();
        let matches = self.lines.iter().filter(|line| line.contains("match ")).count();
        let mut arms = self.lines.iter().enumerate().filter(|(_, line)| line.ends_with("=> {"));
        let short = arms.all(|(index, opening)| {
            let close = format!("{}}}", " ".repeat(indent(opening)));
            self.lines.iter().skip(index + 1).take(2).any(|line| line.starts_with(&close))
        });
        matches > 0 && statements <= 3 && short
    }
}

/// A fn begins at the line that declares it and ends at the `}` of its indentation.
pub fn functions(code: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !declares_function(line) {
            continue;
        }
        let depth = indent(line);
        let Some(body) = lines[index..].iter().position(|line| line.contains(['{', ';'])) else {
            continue;
        };
        let opening = lines[index + body].trim_end();
        let length = if opening.ends_with(['}', ';']) {
            body + 1
        } else {
            let close = |line: &&str| indent(line) == depth && line.trim_start().starts_with('}');
            lines[index..].iter().position(close).map_or(lines.len() - index, |end| end + 1)
        };
        found.push(Function { line: index + 1, indent: depth, lines: lines[index..index + length].to_vec() });
    }
    found
}

pub fn declares_function(line: &str) -> bool {
    let mut rest = line.trim_start();
    loop {
        if rest.starts_with("fn ") {
            return true;
        }
        let Some((word, after)) = rest.split_once(' ') else {
            return false;
        };
        let qualifier = word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "default", "in", "\" \""].contains(&word)
            || word.ends_with(')') && line.trim_start().starts_with("pub(");
        if !qualifier {
            return false;
        }
        rest = after.trim_start();
    }
}

/// Blanks comments and the insides of string and character literals; keeps every
/// newline and every byte's place.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        let rest = &text[at..];
        let length = comment(rest).or_else(|| literal(text, at)).unwrap_or(0);
        if length == 0 {
            let width = rest.chars().next().map_or(1, char::len_utf8);
            out.extend_from_slice(&bytes[at..at + width]);
        } else {
            out.extend(bytes[at..at + length].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        }
    }
    String::from_utf8(out).expect("whole characters were copied or blanked")
}

/// Length of the comment that begins here.
pub fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// Length of the literal that begins at `at`: a string, raw string or character.
pub fn literal(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let after_word = text[..at].ends_with(is_word);
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if !after_word && let Some(raw) = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br")) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = rest.len() - raw.len() + hashes + 1;
            return Some(rest[body..].find(&close).map_or(rest.len(), |end| body + end + close.len()));
        }
    }
    let inner = rest.strip_prefix('\'')?;
    let mut chars = inner.chars();
    // `'a'` and `'\n'` are characters, `'a` is a lifetime.
    match (chars.next()?, chars.next()) {
        ('\\', _) | (_, Some('\'')) => Some(quoted(rest, '\'')),
        _ => None,
    }
}

pub fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub fn lines_with(code: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    code.lines().enumerate().filter(move |(_, line)| wanted(line)).map(|(index, _)| index + 1)
}
