//! Reads the steps of a test out of a Markdown document, and compares printed with expected lines.

/// One block of the document that is tested.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Commands that serve.
    Background(Vec<Exchange>),
    /// A file.
    File { name: String, text: String },
    /// Commands that end.
    Run(Vec<Exchange>),
}

/// A command and the lines that it prints.
#[derive(Debug, PartialEq)]
pub(super) struct Exchange {
    pub(super) command: String,
    pub(super) output: Vec<String>,
}

/// The steps of the document, in its order. Panics at a block that does not say how it is tested.
pub(super) fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut directive = None;
    let mut lines = document.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(said) = line
            .strip_prefix("<!-- test: ")
            .and_then(|it| it.strip_suffix(" -->"))
        {
            directive = Some(said);
        } else if line.starts_with("```") {
            let block: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            let said = directive.take().unwrap_or_else(|| {
                panic!(
                    "the block at line {} does not say how it is tested",
                    index + 1
                )
            });
            steps.extend(step(said, &block));
        }
    }
    steps
}

/// Whether `printed` is what `expected` shows, whatever the order: tasks run side by side.
/// In an expected line `…` stands for any text and a UUID for any UUID.
pub(super) fn same_lines(expected: &[String], printed: &[String]) -> bool {
    let mut rest: Vec<&String> = printed.iter().collect();
    expected.iter().all(|pattern| {
        let found = rest
            .iter()
            .position(|line| matches(&without_uuids(pattern), &without_uuids(line)));
        found.map(|index| rest.remove(index)).is_some()
    }) && rest.is_empty()
}

fn step(directive: &str, block: &[&str]) -> Option<Step> {
    match directive.split_once(' ') {
        None if directive == "background" => Some(Step::Background(exchanges(block))),
        None if directive == "run" => Some(Step::Run(exchanges(block))),
        Some(("file", name)) => Some(Step::File {
            name: name.to_owned(),
            text: block.join("\n") + "\n",
        }),
        Some(("none,", _)) => None,
        _ => panic!("`test: {directive}` is not a way to test a block"),
    }
}

fn exchanges(block: &[&str]) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in block {
        if let Some(command) = line.strip_prefix("$ ") {
            exchanges.push(Exchange {
                command: command.to_owned(),
                output: Vec::new(),
            });
            continue;
        }
        let last = exchanges.last_mut().expect("a block begins with a command");
        match line.strip_prefix("> ") {
            // What a shell shows in front of the further lines of a command.
            Some(more) if last.output.is_empty() => {
                last.command = format!("{}\n{more}", last.command)
            }
            _ => last.output.push((*line).to_owned()),
        }
    }
    exchanges
}

fn matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else {
        return pattern == line;
    };
    let Some(tail) = line.strip_prefix(start) else {
        return false;
    };
    tail.char_indices()
        .map(|(index, _)| index)
        .chain([tail.len()])
        .any(|index| matches(rest, &tail[index..]))
}

/// The line with every UUID replaced by one and the same word.
fn without_uuids(line: &str) -> String {
    const LENGTH: usize = 36;
    let mut text = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let uuid = rest
            .get(..LENGTH)
            .filter(|it| uuid::Uuid::try_parse(it).is_ok());
        text.push_str(uuid.map_or(&rest[..next.len_utf8()], |_| "<uuid>"));
        rest = &rest[uuid.map_or(next.len_utf8(), |_| LENGTH)..];
    }
    text
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn steps_are_read_in_order() {
    let document = "\
# Title
<!-- test: none, a reason -->
```console
$ make test
```
<!-- test: file a.py -->
```python
print(1)
```
<!-- test: run -->
```console
$ one |
>   two
out
> quoted
$ three
```
";
    let expected = vec![
        Step::File {
            name: "a.py".into(),
            text: "print(1)\n".into(),
        },
        Step::Run(vec![
            Exchange {
                command: "one |\n  two".into(),
                output: lines(&["out", "> quoted"]),
            },
            Exchange {
                command: "three".into(),
                output: Vec::new(),
            },
        ]),
    ];
    assert_eq!(steps(document), expected);
}

#[test]
#[should_panic(expected = "line 2 does not say how it is tested")]
fn a_block_that_says_nothing_is_refused() {
    steps("text\n```console\n$ ls\n```\n");
}

#[test]
fn ids_and_ellipses_match_but_nothing_else_does() {
    let expected = lines(&[
        "01932c07-41aa-7c05-8e3f-d2b7a6914c58 1 queued",
        "answer: … end",
    ]);
    let printed = lines(&[
        "answer: é x end",
        "01932c07-ffff-7c05-8e3f-d2b7a6914c58 1 queued",
    ]);
    assert!(same_lines(&expected, &printed));
    assert!(!same_lines(&expected, &printed[..1]));
    assert!(!same_lines(&expected[..1], &printed));
    assert!(!same_lines(&lines(&["a"]), &lines(&["b"])));
}
