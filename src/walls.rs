//! The walls of the house, as a test: which part of the program may name which library, and which other part.

use std::fs;
use std::path::{Path, PathBuf};

/// What only some places may name. A place is a module of `src`, with what is in it.
const WALLS: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    ("redis::", &["engine/redis"]),
    ("axum::", &["http", "ws", "app"]),
    ("crate::http", &["http", "ws", "app"]),
    ("crate::ws", &["http", "ws", "app"]),
];

/// What a part must never name: the domain is above what it stands on.
const BENEATH: &[(&str, &[&str])] = &[
    ("store", &["crate::chat", "crate::access", "crate::realtime", "crate::engine", "crate::jobs"]),
    ("engine", &["crate::chat", "crate::access", "crate::realtime", "crate::store", "crate::jobs"]),
    ("events", &["crate::chat", "crate::jobs"]),
    ("realtime", &["crate::chat", "crate::jobs"]),
    ("access", &["crate::chat", "crate::realtime", "crate::jobs"]),
    ("chat", &["crate::agents", "crate::jobs"]),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Does a line of code name this? Not as the end of a longer path, and not in a comment.
fn names(line: &str, what: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(what).any(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let after = code[start + what.len()..].chars().next().unwrap_or(' ');
        let whole = what.ends_with("::") || !(after.is_alphanumeric() || after == '_');
        whole && !(before.is_alphanumeric() || before == '_' || before == ':')
    })
}

fn is_in(file: &str, place: &str) -> bool {
    file == place || file == format!("{place}.rs") || file.starts_with(&format!("{place}/"))
}

#[test]
fn nobody_reaches_through_a_wall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 100, "the sources are where they should be");
    let mut breaches = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if file == "walls.rs" || file == "engine/conformance.rs" {
            // The one speaks of walls, the other is the test of both engines.
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let walls = WALLS
                .iter()
                .filter(|(what, places)| names(line, what) && !places.iter().any(|place| is_in(&file, place)));
            let beneath = BENEATH.iter().filter(|(part, _)| is_in(&file, part));
            let upward = beneath.flat_map(|(_, never)| never.iter()).filter(|what| names(line, what));
            let named = walls.map(|(what, _)| what).chain(upward);
            breaches.extend(named.map(|what| format!("src/{file}:{} names {what}", number + 1)));
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn a_breach_would_be_seen() {
    assert!(names("use sqlx::Row;", "sqlx::") && names("    sqlx::query(x)", "sqlx::"));
    assert!(!names("// sqlx::query", "sqlx::") && !names("engine::redis::engine()", "redis::"));
    assert!(names("use crate::chat::render;", "crate::chat") && !names("use crate::chatter;", "crate::chat"));
}
