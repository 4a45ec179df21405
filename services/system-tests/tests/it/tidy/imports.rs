//! Within a crate, files import from each other in one direction: there is no circle.
//!
//! A file imports another one if it names an item that is defined there. Re-exports are followed to
//! the definition, and do not count as imports themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::code::shipped_code;
use super::{assert_no_complaints, our_files};

/// A path, and the name that it gets in the importing file; `*` for all names.
#[derive(Debug, Clone)]
struct UsePath {
    segments: Vec<String>,
    name: String,
    is_reexport: bool,
}

/// One source file as a module of its crate.
#[derive(Debug, Default)]
struct SourceFile {
    name: String,
    code: String,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    uses: Vec<UsePath>,
}

/// The modules of one crate by their paths.
type CrateModules = BTreeMap<Vec<String>, SourceFile>;

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits code into identifiers, `::` and other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_identifier(first) {
            rest.find(|c| !is_identifier(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    tokens
}

/// Expands the tree of one `use`, up to its `;`; returns the number of tokens.
fn expand_use(tokens: &[&str], prefix: &[String], found: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match *token {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at += expand_use(&tokens[at..], &path, found);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "as" => {
                found.push((path, tokens[at + 1].to_owned()));
                return at + 2;
            }
            "," | "}" | ";" => break,
            // `use a::{self, b}`
            "self" if !path.is_empty() => {}
            segment => path.push(segment.to_owned()),
        }
        at += 1;
    }
    if let Some(name) = path.last().cloned() {
        found.push((path, name));
    }
    at
}

/// Reads the items, child modules and imports of a file.
fn parse_file(name: &str, source: &str) -> SourceFile {
    let code = shipped_code(source);
    let tokens = tokens(&code);
    let mut file = SourceFile {
        name: name.to_owned(),
        ..SourceFile::default()
    };
    let (mut depth, mut at) = (0_i32, 0_usize);
    while at < tokens.len() {
        let next = tokens.get(at + 1).copied().unwrap_or_default();
        match tokens[at] {
            "{" => depth += 1,
            "}" => depth -= 1,
            // Not the bound `impl Trait + use<>`.
            "use" if next != "<" => {
                // `pub use` and `pub(crate) use`
                let is_reexport = at > 0 && matches!(tokens[at - 1], "pub" | ")");
                let mut found = Vec::new();
                at += 1 + expand_use(&tokens[at + 1..], &[], &mut found);
                file.uses
                    .extend(found.into_iter().map(|(segments, name)| UsePath {
                        segments,
                        name,
                        is_reexport,
                    }));
                continue;
            }
            "mod" if tokens.get(at + 2) == Some(&";") => {
                file.children.insert(next.to_owned());
            }
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union"
                if depth == 0 =>
            {
                file.items.insert(next.to_owned());
            }
            "macro_rules" => {
                let name = tokens.get(at + 2).copied().unwrap_or_default();
                file.items.insert(name.to_owned());
            }
            _ => {}
        }
        at += 1;
    }
    file.code = code;
    file
}

/// Returns the absolute path that a path in the module `from` stands for.
fn absolute_path(
    modules: &CrateModules,
    from: &[String],
    segments: &[String],
    depth: u32,
) -> Option<Vec<String>> {
    let (mut base, mut rest) = match &segments.first()?[..] {
        "crate" => (Vec::new(), &segments[1..]),
        "self" => (from.to_vec(), &segments[1..]),
        "super" => (from.to_vec(), segments),
        first => {
            let file = &modules[from];
            if file.children.contains(first) {
                (from.to_vec(), segments)
            } else {
                // A module that is imported under this name.
                let import = file.uses.iter().find(|import| import.name == *first)?;
                if depth == 0 || import.segments.first()? == first {
                    return None;
                }
                let base = absolute_path(modules, from, &import.segments, depth - 1)?;
                (base, &segments[1..])
            }
        }
    };
    while rest.first().is_some_and(|segment| segment == "super") {
        base.pop()?;
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Returns the module in which the item at an absolute path is defined.
fn defining_module(modules: &CrateModules, path: &[String], depth: u32) -> Option<Vec<String>> {
    let mut module = Vec::new();
    for segment in path {
        let file = &modules.get(&module)?;
        if file.children.contains(segment) {
            module.push(segment.clone());
            continue;
        }
        if file.items.contains(segment) {
            return Some(module);
        }
        let imports = file.uses.iter();
        return imports
            .filter(|import| import.name == *segment || import.name == "*")
            .filter_map(|import| {
                let mut path = import.segments.clone();
                if import.name == "*" {
                    *path.last_mut()? = segment.clone();
                }
                let path = absolute_path(modules, &module, &path, 3)?;
                defining_module(modules, &path, depth.checked_sub(1)?)
            })
            .next();
    }
    // The module itself: its items are named in paths of their own.
    None
}

/// Returns the modules that a module imports from.
fn imported_modules(modules: &CrateModules, from: &[String]) -> BTreeSet<Vec<String>> {
    let file = &modules[from];
    let mut paths: Vec<Vec<String>> = file
        .uses
        .iter()
        .filter(|import| !import.is_reexport && import.name != "*")
        .map(|import| import.segments.clone())
        .collect();
    let tokens = tokens(&file.code);
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" && tokens.get(at + 1) != Some(&"<") {
            while tokens.get(at).is_some_and(|token| *token != ";") {
                at += 1;
            }
        }
        let mut path = vec![];
        while tokens
            .get(at)
            .is_some_and(|token| token.chars().all(is_identifier))
        {
            path.push(tokens[at].to_owned());
            at += 1;
            if tokens.get(at) != Some(&"::") {
                break;
            }
            at += 1;
        }
        match path.len() {
            0 => at += 1,
            1 => {}
            _ => paths.push(path),
        }
    }
    paths
        .iter()
        .filter_map(|path| absolute_path(modules, from, path, 3))
        .filter_map(|path| defining_module(modules, &path, 5))
        .filter(|module| module != from)
        .collect()
}

/// Returns the shortest way from one module to another along imports.
fn import_chain(
    imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    from: &[String],
    to: &[String],
) -> Option<Vec<Vec<String>>> {
    let mut chains = std::collections::VecDeque::from([vec![from.to_vec()]]);
    let mut seen = BTreeSet::new();
    while let Some(chain) = chains.pop_front() {
        let last = chain.last()?;
        if last == to {
            return Some(chain);
        }
        for next in &imports[last] {
            if seen.insert(next.clone()) {
                let mut longer = chain.clone();
                longer.push(next.clone());
                chains.push_back(longer);
            }
        }
    }
    None
}

/// Returns one complaint for each circle that begins at its first file.
fn circles(modules: &CrateModules) -> Vec<String> {
    let imports: BTreeMap<_, _> = modules
        .keys()
        .map(|path| (path.clone(), imported_modules(modules, path)))
        .collect();
    let mut complaints = Vec::new();
    for (module, imported) in &imports {
        let chain = imported
            .iter()
            .filter_map(|next| import_chain(&imports, next, module))
            .filter(|chain| chain.iter().all(|other| other >= module))
            .min_by_key(Vec::len);
        if let Some(chain) = chain {
            let names = chain.iter().map(|path| &modules[path].name[..]);
            complaints.push(format!(
                "{} → {}: these files import each other in a circle; move what both need to a \
                 file below both",
                modules[module].name,
                names.collect::<Vec<_>>().join(" → ")
            ));
        }
    }
    complaints
}

#[test]
fn files_of_a_crate_import_in_one_direction() {
    let mut crates: BTreeMap<String, CrateModules> = BTreeMap::new();
    for (name, path) in our_files() {
        let Some((crate_folder, module)) = name.split_once("/src/") else {
            continue;
        };
        let Some(module) = module.strip_suffix(".rs") else {
            continue;
        };
        let mut module: Vec<String> = module.split('/').map(str::to_owned).collect();
        let is_test = module.iter().any(|part| part == "tests");
        // A program next to a library uses it as any other crate does.
        if is_test || module == ["main"] {
            continue;
        }
        if module == ["lib"] || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let source = std::fs::read_to_string(path).unwrap();
        let modules = crates.entry(crate_folder.to_owned()).or_default();
        modules.insert(module, parse_file(&name, &source));
    }
    assert!(crates.len() > 8, "hardly any crate was found");
    let complaints: Vec<String> = crates
        .values()
        .filter(|modules| modules.contains_key(&Vec::new()))
        .flat_map(circles)
        .collect();
    assert_no_complaints(&complaints);
}

#[test]
fn the_scanner_finds_circles() {
    let crate_of = |files: &[(&[&str], &str)]| -> CrateModules {
        let paths = files.iter().map(|(path, source)| {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            (
                path.clone(),
                parse_file(&format!("{}.rs", path.join("/")), source),
            )
        });
        paths.collect()
    };
    let child = "use super::Parent; pub struct Child;";
    let reexport = crate_of(&[
        (&[], "mod a; pub use a::Child; pub struct Parent;"),
        (&["a"], child),
    ]);
    assert_eq!(circles(&reexport), [""; 0]);
    let import = crate_of(&[
        (&[], "mod a; pub struct Parent(a::Child);"),
        (&["a"], child),
    ]);
    assert_eq!(circles(&import).len(), 1);
    let followed = crate_of(&[
        (
            &[],
            "mod a; mod b; pub use a::A; pub use b::{self as other, B};",
        ),
        (&["a"], "use crate::B; pub struct A;"),
        (&["b"], "use crate::{A}; pub struct B;"),
    ]);
    assert_eq!(circles(&followed).len(), 1);
}
