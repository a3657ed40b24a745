//! The form of every source file: lines of at most 100 columns, files of at most 500 lines.

use crate::generated::root;
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;

/// Folders of sources; what is built or kept by tools is in none of them.
const SOURCES: &[&str] = &["shared", "functions", "cli", "tests", "examples", "infra"];
/// Folders inside them that hold no source of ours.
const SKIPPED: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// No line over 100 columns, no file over 500 lines. rustfmt leaves strings and macros as they
/// are: break a string with `\` or `concat!`, and `json!` by hand.
#[test]
fn no_line_over_100_columns_and_no_file_over_500_lines() {
    let mut found = Vec::new();
    SOURCES.iter().for_each(|folder| sources(&root().join(folder), &mut found));
    assert!(found.len() > 200, "the sources are not where they are looked for");
    let mut wrong = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{name}: {lines} lines"));
        }
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                wrong.push(format!("{name}:{}", index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}
