//! Where policies stand in a text, and what its comments declare. Cedar numbers policies in their
//! order, so the n-th is found by counting.

use cedar_policy::PolicyId;
use cs_core::text::is_hidden;

/// A policy's location: the file by a line `// file: <name>` above it, and the line in that file,
/// or in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) file: Option<String>,
    /// 1 for the first.
    pub(crate) line: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// What a text is made of, as far as this module cares.
enum Part<'t> {
    /// A comment outside of any policy, without its slashes.
    Comment { line: u32, text: &'t str },
    /// The beginning of a policy.
    Policy { line: u32 },
}

// One pass; texts in quotes may go over lines.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut line, mut inside, mut quoted, mut escaped) = (1, false, false, false);
    let mut chars = text.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        match c {
            '\n' => {
                line += 1;
                escaped = false;
            }
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                if !inside {
                    inside = true;
                    parts.push(Part::Policy { line });
                }
            }
            _ if quoted => {}
            '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                let rest = text.get(index + 2..).unwrap_or_default();
                let comment = rest.lines().next().unwrap_or_default();
                if !inside {
                    parts.push(Part::Comment { line, text: comment.trim() });
                }
                while chars.next_if(|(_, next)| *next != '\n').is_some() {}
            }
            ';' => inside = false,
            _ if !inside && !c.is_whitespace() => {
                parts.push(Part::Policy { line });
                inside = true;
            }
            _ => {}
        }
    }
    parts
}

/// The first character that no reader of a text sees, and its line: controls, directions, invisible
/// ones, and a carriage return alone, at which Cedar ends a comment and an editor may not. (Boucher
/// and Anderson, Trojan Source, 2021.)
pub(crate) fn hidden(text: &str) -> Option<(usize, char)> {
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            '\r' if chars.peek() == Some(&'\n') => {}
            // A tab, and the blanks of fonts whose letters are wide or stay together.
            '\t' | '\u{a0}' | '\u{3000}' => {}
            hidden if is_hidden(hidden) => return Some((line, hidden)),
            _ => {}
        }
    }
    None
}

/// Where the policies of a text begin, in their order.
pub(crate) fn locations(text: &str) -> Vec<Location> {
    let (mut file, mut before) = (None, 0);
    let mut found = Vec::new();
    for part in parts(text) {
        match part {
            Part::Comment { line, text } => {
                if let Some(name) = text.strip_prefix("file:") {
                    (file, before) = (Some(name.trim().to_owned()), line);
                }
            }
            Part::Policy { line } => {
                found.push(Location { file: file.clone(), line: line - before })
            }
        }
    }
    found
}

/// The lines `// <name>: <value>` outside of any policy, with their values.
pub(crate) fn directives(text: &str, name: &str) -> Vec<(u32, String)> {
    let value = |part| match part {
        Part::Comment { line, text } => {
            let value = text.strip_prefix(name)?.strip_prefix(':')?;
            Some((line, value.trim().to_owned()))
        }
        Part::Policy { .. } => None,
    };
    parts(text).into_iter().filter_map(value).collect()
}

/// The location of a policy by its id.
pub(crate) fn of<'l>(locations: &'l [Location], id: &PolicyId) -> Option<&'l Location> {
    let name: &str = id.as_ref();
    locations.get(name.strip_prefix("policy")?.parse::<usize>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_where_they_stand() {
        let text = r#"// a comment; with a semicolon
@id("one") // another;
permit (principal, action, resource)
when { context.mode == "a;\"b" };
// file: limits.cedar
forbid (principal, action, resource); permit (principal, action, resource);

@id("four")
forbid (principal, action, resource);"#;
        let lines: Vec<String> = locations(text).iter().map(Location::to_string).collect();
        assert_eq!(lines, ["line 2", "limits.cedar:1", "limits.cedar:1", "limits.cedar:3"]);
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        let four = set.policies().find(|policy| policy.annotation("id") == Some("four")).unwrap();
        assert_eq!(of(&locations(text), four.id()).unwrap().to_string(), "limits.cedar:3");
    }

    #[test]
    fn a_text_over_several_lines_hides_no_policy_and_declares_nothing() {
        let text = "permit (principal, action, resource) when { context.a == \"x;\n// file: \
            sly\ny;\" };\nforbid (principal, action, resource);";
        let lines: Vec<String> = locations(text).iter().map(Location::to_string).collect();
        assert_eq!(lines, ["line 1", "line 4"]);
        assert_eq!(
            directives("// timezone: A\npermit // timezone: B\n;\n//timezone:C", "timezone"),
            [(1, "A".to_owned()), (4, "C".to_owned())]
        );
    }
}
