//! As much of a source file as the house rules look at: which rooms it imports, and which crates it names.

/// A source file without its comments and literals, line for line.
pub(super) struct Source<'a> {
    /// The path below `src`.
    name: &'a str,
    code: String,
}

/// A room that is named as `crate::room`, or reached by climbing with `super`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    pub(super) room: String,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &str) -> Self {
        Source {
            name,
            code: mask(text),
        }
    }

    /// The first part of the path: `store` of `store/mod.rs`, `clock` of `clock.rs`.
    pub(super) fn room(&self) -> &'a str {
        let first = self.name.split('/').next().unwrap_or(self.name);
        first.trim_end_matches(".rs")
    }

    /// Whether the file belongs to a room, or to a part of it such as `store/redis`.
    pub(super) fn is_in(&self, part: &str) -> bool {
        let rest = self.name.strip_prefix(part);
        rest.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    }

    /// Every room named, with its line.
    pub(super) fn imports(&self) -> Vec<Import> {
        let climb = format!("{}crate::", "super::".repeat(self.depth()));
        let mut starts = self.roots("crate::");
        starts.extend(
            self.roots(climb.trim_end_matches("crate::"))
                .into_iter()
                .filter(|at| {
                    // Inside a module of the file the same climb ends one step lower.
                    !self.line_start(*at).starts_with(' ')
                        && !self.code[*at..].starts_with("super::")
                }),
        );
        if self.room() == "main" {
            starts.extend(self.roots("tidings::"));
        }
        starts.sort_unstable();
        starts
            .into_iter()
            .flat_map(|at| self.first_names(at))
            .collect()
    }

    /// The lines that name a crate, or a path such as `std::env::var`, other than as a part of an own path.
    pub(super) fn mentions(&self, guest: &str) -> Vec<usize> {
        let own = self.own_uses();
        let starts = self.code.match_indices(guest).map(|(at, _)| at);
        let named = starts.filter(|at| {
            let (before, after) = (&self.code[..*at], &self.code[at + guest.len()..]);
            let is_whole =
                after.starts_with("::") || (guest.contains("::") && !after.starts_with(is_word));
            is_whole && is_root(before) && !own.iter().any(|range| range.contains(at))
        });
        let is_own_module =
            self.name.ends_with("/mod.rs") && self.code.contains(&format!("mod {guest};"));
        named
            .filter(|_| !is_own_module)
            .map(|at| self.line(at))
            .collect()
    }

    /// How many `super` lead from the file's top level to the root of the crate.
    fn depth(&self) -> usize {
        let parts = self.name.split('/').count();
        if self.name.ends_with("mod.rs") {
            parts - 1
        } else {
            parts
        }
    }

    /// The places after a path's beginning.
    fn roots(&self, path: &str) -> Vec<usize> {
        let starts = self.code.match_indices(path);
        let whole = starts.filter(|(at, _)| is_root(&self.code[..*at]));
        whole.map(|(at, _)| at + path.len()).collect()
    }

    /// The first name of a path, or of each path of a group in braces.
    fn first_names(&self, at: usize) -> Vec<Import> {
        let mut imports = Vec::new();
        let (mut depth, mut is_first) = (0, true);
        let mut rest = self.code[at..].char_indices().peekable();
        while let Some((offset, letter)) = rest.next() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_first = true,
                letter if is_word(letter) && is_first => {
                    let mut name = String::from(letter);
                    while let Some((_, letter)) = rest.next_if(|(_, letter)| is_word(*letter)) {
                        name.push(letter);
                    }
                    imports.push(Import {
                        line: self.line(at + offset),
                        room: name,
                    });
                    is_first = false;
                }
                _ => {}
            }
            let is_over = letter == '}' || !is_first;
            if depth <= 0 && is_over {
                break;
            }
        }
        imports
    }

    /// The stretches of code that import from this crate.
    fn own_uses(&self) -> Vec<std::ops::Range<usize>> {
        let starts = self.code.match_indices("use ").map(|(at, _)| at);
        let own = starts.filter(|at| {
            let path = &self.code[at + 4..];
            ["crate::", "super::", "self::", "tidings::"]
                .iter()
                .any(|root| path.starts_with(root))
        });
        own.map(|at| {
            at..self.code[at..]
                .find(';')
                .map_or(self.code.len(), |end| at + end)
        })
        .collect()
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn line_start(&self, at: usize) -> &str {
        let start = self.code[..at].rfind('\n').map_or(0, |end| end + 1);
        &self.code[start..]
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a path begins after `before`, rather than goes on.
fn is_root(before: &str) -> bool {
    let before = before.strip_suffix("::").unwrap_or(before);
    !before.ends_with(|letter| is_word(letter) || letter == ':' || letter == '>' || letter == '$')
}

/// Blanks comments, strings and quoted characters, and keeps the lines.
fn mask(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => 1 + string_end(&rest[1..]),
            'r' if is_raw(&code, rest) => raw_end(rest),
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\") => 3 + rest[3..].find('\'').map_or(0, |end| end + 1),
            _ => {
                code.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            }
        };
        let (masked, after) = rest.split_at(length.min(rest.len()));
        code.extend(
            masked
                .chars()
                .map(|letter| if letter == '\n' { '\n' } else { ' ' }),
        );
        rest = after;
    }
    code
}

fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = letter == '\\' && !is_escaped,
        }
    }
    text.len()
}

fn is_raw(before: &str, rest: &str) -> bool {
    let hashes = rest[1..].trim_start_matches('#');
    hashes.starts_with('"') && !before.ends_with(|letter| is_word(letter) && letter != 'b')
}

fn raw_end(rest: &str) -> usize {
    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
    let close = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    rest[body..]
        .find(&close)
        .map_or(rest.len(), |end| body + end + close.len())
}
