//! The documentation as a book: every link and anchor leads somewhere, every page is in the table
//! of contents, and no page of the book links out of it, where the built book has nothing.
//!
//! `mdbook build docs` checks only that the pages of the table of contents exist.

use crate::generated::root;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

/// Markdown files by their path below a root folder.
struct Documents {
    root: PathBuf,
    texts: BTreeMap<PathBuf, String>,
}

const BOOK: &str = "docs/src";
const SUMMARY: &str = "docs/src/SUMMARY.md";
/// Folders whose files are named in texts by their path from the root.
const NAMED: [&str; 9] =
    [".ci/", "cli/", "docs/", "events/", "examples/", "functions/", "infra/", "shared/", "tests/"];

impl Documents {
    /// Those at the root, and the book.
    fn read(root: &Path) -> Self {
        let mut texts = BTreeMap::new();
        let mut folders = vec![root.join(BOOK)];
        let mut files: Vec<PathBuf> = list(root);
        while let Some(folder) = folders.pop() {
            let (inner, found): (Vec<_>, Vec<_>) =
                list(&folder).into_iter().partition(|path| path.is_dir());
            folders.extend(inner);
            files.extend(found);
        }
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
            let name = file.strip_prefix(root).unwrap().to_owned();
            texts.insert(name, fs::read_to_string(file).unwrap());
        }
        Self { root: root.to_owned(), texts }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (page, text) in &self.texts {
            let mut wrong =
                |what: &str, why: &str| problems.push(format!("{}: {what}: {why}", page.display()));
            for link in links(text) {
                if let Err(why) = self.follow(page, &link) {
                    wrong(&link, &why);
                }
            }
            // What was is told in the log of changes, by the names of its time.
            for named in code(text).filter(|_| page != Path::new("CHANGELOG.md")) {
                if !self.root.join(&named).exists() {
                    wrong(&named, "there is no such file");
                }
            }
        }
        problems.extend(self.outside_of_summary());
        problems
    }

    fn follow(&self, page: &Path, link: &str) -> Result<(), String> {
        if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
            return Ok(());
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match path {
            "" => page.to_owned(),
            path => below(&page.parent().unwrap().join(path)).ok_or("leads out of the project")?,
        };
        if page.starts_with(BOOK) && !target.starts_with(BOOK) {
            return Err("leads out of the book".into());
        }
        if !self.root.join(&target).exists() {
            return Err("there is no such file".into());
        }
        match self.texts.get(&target) {
            _ if anchor.is_empty() => Ok(()),
            Some(text) if anchors(text).contains(anchor) => Ok(()),
            Some(_) | None => Err("there is no such heading".into()),
        }
    }

    fn outside_of_summary(&self) -> Vec<String> {
        let summary = Path::new(SUMMARY);
        let contents = self.texts.get(summary).map_or("", String::as_str);
        let listed: BTreeSet<PathBuf> =
            links(contents).iter().filter_map(|link| below(&Path::new(BOOK).join(link))).collect();
        let pages = self.texts.keys().filter(|page| page.starts_with(BOOK) && *page != summary);
        pages
            .filter(|page| !listed.contains(*page))
            .map(|page| format!("{}: not in SUMMARY.md", page.display()))
            .collect()
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

// A path without `..`, unless it leads above the root.
fn below(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => clean.pop().then_some(())?,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

fn parse(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

fn links(text: &str) -> Vec<String> {
    parse(text)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        })
        .collect()
}

// Files of the project that are named as code. What has a placeholder in it is no file.
fn code(text: &str) -> impl Iterator<Item = String> {
    parse(text).filter_map(|event| match event {
        Event::Code(code) if NAMED.iter().any(|folder| code.starts_with(folder)) => {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
            code.chars().all(plain).then(|| code.into_string())
        }
        _ => None,
    })
}

// What headings are called in links, by mdBook and by GitHub alike.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut found, mut heading) = (BTreeSet::new(), None::<String>);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in parse(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let words = heading.take().unwrap_or_default().to_lowercase();
                let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
                let name: String = words.trim().chars().filter(kept).collect();
                let name = name.replace(' ', "-");
                let before = seen.entry(name.clone()).or_default();
                found.insert(if *before == 0 { name } else { format!("{name}-{before}") });
                *before += 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_in_the_book() {
    let documents = Documents::read(&root());
    assert!(documents.texts.len() > 20, "the book is not found");
    let problems = documents.problems();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_leads_nowhere_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("README.md", "[a](docs/src/a.md#two-words) [b](docs/src/b.md) [c](docs/src/a.md#three)");
    write(SUMMARY, "- [A](a.md)\n- [Gone](gone.md)\n");
    write(
        "docs/src/a.md",
        "# Two `words`\n\n## Two words\n\n[x](#two-words-1) [y](#y) [z](../../README.md)",
    );
    write("docs/src/lost.md", "`infra/gone.yaml` `infra/<any>.yaml` [up](../../../../up.md)");
    let problems = Documents::read(folder.path()).problems();
    assert_eq!(
        problems,
        [
            "README.md: docs/src/b.md: there is no such file",
            "README.md: docs/src/a.md#three: there is no such heading",
            "docs/src/SUMMARY.md: gone.md: there is no such file",
            "docs/src/a.md: #y: there is no such heading",
            "docs/src/a.md: ../../README.md: leads out of the book",
            "docs/src/lost.md: ../../../../up.md: leads out of the project",
            "docs/src/lost.md: infra/gone.yaml: there is no such file",
            "docs/src/lost.md: not in SUMMARY.md",
        ]
    );
}

// Files and functions of the project's source, by which pages say where something is held and
// which test tries it.
struct Source {
    files: Vec<String>,
    functions: BTreeSet<String>,
}

impl Source {
    fn read() -> Self {
        let mut source = Self { files: Vec::new(), functions: BTreeSet::new() };
        let mut open: Vec<PathBuf> =
            ["shared", "functions", "cli", "tests"].map(|folder| root().join(folder)).into();
        while let Some(path) = open.pop() {
            if path.is_dir() && !path.ends_with("target") {
                open.extend(list(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                source.functions.extend(names.map(str::to_owned));
                source.files.push(path.to_str().unwrap().replace("/src/", "/"));
            }
        }
        source
    }

    // Whether it has what stands as code in a page: a file, or a test by its name, of which a star
    // may leave the end open. Anything else is no concern of this.
    fn has(&self, code: &str) -> bool {
        let name = code.rsplit("::").next().unwrap_or_default();
        let word =
            |text: &str| text.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if let Some(start) = name.strip_suffix('*').filter(|start| word(start)) {
            return self
                .functions
                .range(start.to_owned()..)
                .next()
                .is_some_and(|found| found.starts_with(start));
        }
        if name.ends_with(".rs") && !name.contains(' ') {
            let end = format!("/{}", name.replace("/src/", "/"));
            return self.files.iter().any(|file| file.ends_with(&end));
        }
        let test = word(name)
            && !name.starts_with('_')
            && name.matches('_').count() > 2
            && name == name.to_lowercase();
        !test || self.functions.contains(name)
    }
}

fn all_code(text: &str) -> Vec<String> {
    let code = parse(text).filter_map(|event| match event {
        Event::Code(code) => Some(code.into_string()),
        _ => None,
    });
    code.collect()
}

#[test]
fn the_tests_and_files_that_security_names_exist() {
    let source = Source::read();
    let page = |name: &str| {
        all_code(&fs::read_to_string(root().join(BOOK).join("explanation").join(name)).unwrap())
    };
    let security = page("security.md");
    assert!(security.len() > 150, "security.md names nothing");
    let absent: Vec<&String> = security.iter().filter(|code| !source.has(code)).collect();
    assert!(absent.is_empty(), "security.md: {absent:#?}");
    // There mechanisms are named as they were, and only tests are looked for.
    let samples = page("samples.md");
    let absent: Vec<&String> =
        samples.iter().filter(|code| !code.ends_with(".rs") && !source.has(code)).collect();
    assert!(absent.is_empty(), "samples.md: {absent:#?}");
    for wrong in ["attacks::attack_that_nobody_wrote", "nowhere.rs", "attack_nowhere_at_all_*"] {
        assert!(!source.has(wrong), "{wrong}");
    }
}
