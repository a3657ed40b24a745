//! Where policies stand in a text: Cedar numbers them in their order, so the n-th is found by counting.

use cedar_policy::PolicyId;

/// A policy's place: the file by a line `// file: <name>` above it, and the line in that file, or in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Option<String>,
    /// 1 for the first.
    pub(crate) line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// Where the policies of a text begin, in their order.
pub(crate) fn places(text: &str) -> Vec<Place> {
    let mut found = Vec::new();
    let (mut file, mut line, mut inside) = (None, 0, false);
    for source in text.lines() {
        line += 1;
        if !inside && let Some(name) = source.trim().strip_prefix("// file:") {
            (file, line) = (Some(name.trim().to_owned()), 0);
            continue;
        }
        let (mut quoted, mut escaped) = (false, false);
        let mut rest = source.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '/' if rest.peek() == Some(&'/') => break,
                ';' => inside = false,
                _ if !inside && !c.is_whitespace() => {
                    found.push(Place { file: file.clone(), line });
                    inside = true;
                }
                _ => {}
            }
        }
    }
    found
}

/// The place of a policy by its id.
pub(crate) fn of<'p>(places: &'p [Place], id: &PolicyId) -> Option<&'p Place> {
    let name: &str = id.as_ref();
    places.get(name.strip_prefix("policy")?.parse::<usize>().ok()?)
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
        let lines: Vec<String> = places(text).iter().map(Place::to_string).collect();
        assert_eq!(lines, ["line 2", "limits.cedar:1", "limits.cedar:1", "limits.cedar:3"]);
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        let four = set.policies().find(|policy| policy.annotation("id") == Some("four")).unwrap();
        assert_eq!(of(&places(text), four.id()).unwrap().to_string(), "limits.cedar:3");
    }
}
