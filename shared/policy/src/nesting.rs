//! How deep a policy text is nested, by one pass over its bytes, before any parser sees it.
//!
//! Cedar's parser, validator and evaluator call themselves once for each level of an expression: of
//! brackets, and of chained operators, which nest too (`a && b && c` is `(a && b) && c`). What
//! would need more stack than a thread has is refused here. INVARIANT (bounded-work).

use contracts::limits::{POLICY_BRACKETS_MAX, POLICY_DEPTH_MAX};

/// A policy text is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooDeepError {
    #[error("line {line}: brackets are nested deeper than {POLICY_BRACKETS_MAX} levels")]
    Brackets { line: u32 },
    #[error(
        "line {line}: an expression is nested deeper than {POLICY_DEPTH_MAX} levels, operators \
         counted"
    )]
    Operators { line: u32 },
}

/// What is open: the text of a policy, or a bracket in it. The depth of an expression is at most
/// that of its deepest operand and the number of operators that join its operands, `&&` and `||`
/// counted apart from those within a term.
#[derive(Default)]
struct Level {
    /// Deepest element before the last comma.
    elements: usize,
    /// Deepest term before the last `&&`, `||` or word, since the last comma; and how many of those
    /// joined them.
    terms: usize,
    joints: usize,
    /// Deepest operand of the term before its last operator; and its operators.
    operands: usize,
    operators: usize,
    /// Of the operand that is being read: its prefix operators, and its attributes, calls and
    /// brackets.
    prefixes: usize,
    suffixes: usize,
}

impl Level {
    fn operator(&mut self) {
        self.end_operand();
        self.operators += 1;
    }
    fn joint(&mut self) {
        self.end_term();
        self.joints += 1;
    }
    fn end_term(&mut self) {
        self.end_operand();
        self.terms = self.terms.max(self.operands + self.operators);
        (self.operands, self.operators) = (0, 0);
    }
    fn end_operand(&mut self) {
        self.operands = self.operands.max(self.prefixes + self.suffixes);
        (self.prefixes, self.suffixes) = (0, 0);
    }
    fn end_element(&mut self) {
        self.end_term();
        self.elements = self.elements.max(self.terms + self.joints);
        (self.terms, self.joints) = (0, 0);
    }
    fn depth(&mut self) -> usize {
        self.end_element();
        self.elements
    }
}

/// Words that stand between operands.
const OPERATORS: &[&[u8]] = &[b"in", b"has", b"like", b"is"];
/// Words that join expressions, or begin one.
const JOINTS: &[&[u8]] = &[b"if", b"then", b"else", b"when", b"unless"];

/// Refuses a text that is nested too deeply.
pub fn check_nesting(text: &str) -> Result<(), TooDeepError> {
    let bytes = text.as_bytes();
    let mut open: Vec<Level> = vec![Level::default()];
    let (mut index, mut line) = (0, 1_u32);
    while let Some(byte) = bytes.get(index) {
        let next = bytes.get(index + 1);
        let length = match (byte, next) {
            (b'/', Some(b'/')) => until(bytes, index, |byte| byte == b'\n'),
            (b'"', _) => text_length(bytes, index),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9', _) => {
                until(bytes, index, |byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))
            }
            (b'&', Some(b'&')) | (b'|', Some(b'|')) | (b'=' | b'!' | b'<' | b'>', Some(b'=')) => 2,
            _ => 1,
        };
        let token = bytes.get(index..index + length).unwrap_or_default();
        read(&mut open, token, line)?;
        line += token.iter().filter(|byte| **byte == b'\n').count() as u32;
        index += length.max(1);
    }
    while open.len() > 1 {
        close(&mut open, line)?;
    }
    end(&mut open, line)
}

fn read(open: &mut Vec<Level>, token: &[u8], line: u32) -> Result<(), TooDeepError> {
    let inside = open.len() > 1;
    let Some(level) = open.last_mut() else { return Ok(()) };
    match token {
        b"(" | b"[" | b"{" => {
            open.push(Level::default());
            if open.len() > POLICY_BRACKETS_MAX + 1 {
                return Err(TooDeepError::Brackets { line });
            }
        }
        b")" | b"]" | b"}" if inside => close(open, line)?,
        b";" if !inside => end(open, line)?,
        b"," | b";" => level.end_element(),
        // An annotation begins: what came before is not nested in it.
        b"@" => level.end_operand(),
        b"!" => level.prefixes += 1,
        b"." => level.suffixes += 1,
        b"&&" | b"||" => level.joint(),
        b"==" | b"!=" | b"<" | b"<=" | b">" | b">=" | b"+" | b"-" | b"*" | b"=" => level.operator(),
        word if OPERATORS.contains(&word) => level.operator(),
        word if JOINTS.contains(&word) => level.joint(),
        _ => {}
    }
    // Looked at as it grows, so that no number overflows and the line is that of the excess.
    if let Some(level) = open.last()
        && level.joints + level.operators + level.prefixes + level.suffixes > POLICY_DEPTH_MAX
    {
        return Err(TooDeepError::Operators { line });
    }
    Ok(())
}

fn close(open: &mut Vec<Level>, line: u32) -> Result<(), TooDeepError> {
    let Some(mut level) = open.pop() else { return Ok(()) };
    let depth = level.depth();
    if depth > POLICY_DEPTH_MAX {
        return Err(TooDeepError::Operators { line });
    }
    if let Some(parent) = open.last_mut() {
        parent.suffixes = parent.suffixes.max(depth) + 1;
    }
    Ok(())
}

// The end of a policy.
fn end(open: &mut Vec<Level>, line: u32) -> Result<(), TooDeepError> {
    let depth = open.pop().unwrap_or_default().depth();
    open.push(Level::default());
    if depth > POLICY_DEPTH_MAX {
        return Err(TooDeepError::Operators { line });
    }
    Ok(())
}

fn until(bytes: &[u8], index: usize, end: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(index..).unwrap_or_default();
    rest.iter().position(|byte| end(*byte)).unwrap_or(rest.len())
}

// A text with its quotes.
fn text_length(bytes: &[u8], index: usize) -> usize {
    let rest = bytes.get(index + 1..).unwrap_or_default();
    let mut escaped = false;
    for (length, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return length + 2,
            _ => {}
        }
    }
    rest.len() + 1
}

#[cfg(test)]
mod tests;
