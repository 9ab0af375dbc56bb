//! The text of a script: what it needs of the functions that scripts share, and values in the place of names.
//!
//! What a script begins with is paid for at every call, and a task alone makes three. Values cost nothing, names did.

use std::collections::HashMap;

/// What scripts share, one function a paragraph.
const SHARED: &str = concat!(
    include_str!("scripts/common.lua"),
    include_str!("scripts/apart.lua")
);

/// A piece of Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// A comment, a string in single quotes, or one character of what else there is.
    Other(&'a str),
}

/// The script with those shared functions before it that it uses, and that those use.
pub(super) fn with_shared(body: &str) -> String {
    let mut text = body.to_owned();
    // From the last one on: they use those before them.
    for function in SHARED.rsplit("\n\n") {
        let name = words(function).skip_while(|it| *it != "function").nth(1);
        if name.is_some_and(|name| words(&text).any(|it| it == name)) {
            text = format!("{}\n\n{text}", function.trim_end());
        }
    }
    text
}

/// The text with values in the place of names.
pub(super) fn fill_in(text: &str, values: &HashMap<&str, String>) -> String {
    let filled = tokens(text).map(|token| match token {
        Token::Word(word) => values.get(word).map_or(word, String::as_str),
        Token::Other(other) => other,
    });
    filled.collect()
}

/// Names and keywords, one after the other.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    tokens(text).filter_map(|token| match token {
        Token::Word(word) => Some(word),
        Token::Other(_) => None,
    })
}

fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = first.is_ascii_alphabetic() || first == '_';
        let length = match first {
            _ if is_word => rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_'),
            '-' if rest.starts_with("--") => rest.find('\n'),
            '\'' => end_of_string(rest),
            _ => Some(first.len_utf8()),
        };
        let (token, after) = rest.split_at(length.unwrap_or(rest.len()));
        rest = after;
        let token = if is_word { Token::Word } else { Token::Other }(token);
        Some(token)
    })
}

/// How long the string is that a text begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, it)| {
        let is_end = *it == '\'' && !escaped;
        escaped = *it == '\\' && !escaped;
        is_end
    });
    end.map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_for_names_and_not_in_comments_strings_or_longer_names() {
        let text = "x(KEY, 'KEY \\' KEY', KEY_2, KEY..'\\\\', KEY) -- KEY's\nKEY";
        let values = HashMap::from([("KEY", "'k'".to_owned())]);
        assert_eq!(
            fill_in(text, &values),
            "x('k', 'KEY \\' KEY', KEY_2, 'k'..'\\\\', 'k') -- KEY's\n'k'"
        );
    }

    #[test]
    fn a_script_gets_what_it_uses_and_what_that_uses() {
        let text = with_shared("time_leases() announce() -- spread()\n'retire()'");
        let shared: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("local function "))
            .filter_map(|line| line.split('(').next())
            .collect();
        assert_eq!(shared, ["time_leases", "publish", "announce"]);
    }
}
