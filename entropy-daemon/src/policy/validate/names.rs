//! Names of policies: given or made up, and each only once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use toml::de::DeTable;

use crate::policy::file::ReadFile;
use crate::policy::model::Origin;
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Finding, Report};
use crate::policy::text::{character, quoted};

/// Longest name, in characters.
const MAX_CHARS: usize = 63;

/// Reads the name of a policy, and begins its report. In messages the policy is called by its name,
/// or `#2` if it is the second of the file and has no valid name.
pub(crate) fn read(table: &DeTable<'_>, number: usize) -> (Option<(String, usize)>, Report) {
    let unnamed = || Report::new(Some(format!("#{number}")));
    let Some(value) = table.get("name") else { return (None, unnamed()) };
    let field = Field { path: "name".to_owned(), value };
    let mut report = unnamed();
    let name = field
        .string(&mut report, "write a name in quotes, such as \"slow-db\"")
        .and_then(|name| field.accept(&mut report, check(name).map(|()| name.to_owned())));
    match name {
        Some(name) => {
            let report = Report::new(Some(name.clone()));
            (Some((name, field.at())), report)
        }
        None => (None, report),
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Whether a policy can be called this.
pub(crate) fn check(name: &str) -> Result<(), Mistake> {
    let Some(first) = name.chars().next() else {
        let help = "choose a name such as \"slow-db\", or remove the key to have one made up";
        return Err(Mistake::new("the name is empty", help));
    };
    if let Some(wrong) = name.chars().find(|c| !is_allowed(*c)) {
        let reason = format!("{} contains {}", quoted(name), character(wrong));
        let better = made_valid(name, MAX_CHARS);
        let help = format!("use letters, digits, \".\", \"_\" and \"-\", such as \"{better}\"");
        return Err(Mistake::new(reason, help));
    }
    if !first.is_ascii_alphanumeric() {
        let reason = format!("{} begins with {}", quoted(name), character(first));
        let better = made_valid(name, MAX_CHARS);
        let help = format!("begin with a letter or digit, such as \"{better}\"");
        return Err(Mistake::new(reason, help));
    }
    if name.len() > MAX_CHARS {
        let reason = format!("{} is {} characters long", quoted(name), name.len());
        return Err(Mistake::new(reason, format!("use at most {MAX_CHARS} characters")));
    }
    Ok(())
}

/// A valid name of at most `length` characters that resembles `text`.
fn made_valid(text: &str, length: usize) -> String {
    let replaced = text.chars().map(|c| if is_allowed(c) { c } else { '-' });
    let name: String = replaced.skip_while(|c| !c.is_ascii_alphanumeric()).take(length).collect();
    if name.is_empty() { "policy".to_owned() } else { name }
}

/// Gives every policy its name, and reports names that are given twice.
///
/// A made-up name is that of the file with the policy's number in it, `web-2`, and a further number
/// if another policy has that name already. It never takes a name that is given somewhere.
pub(crate) fn assign(files: &mut [ReadFile<'_>]) {
    let mut taken: HashMap<String, Origin> = HashMap::new();
    for ReadFile { candidates, findings, .. } in files.iter_mut() {
        for candidate in candidates {
            let Some((name, at)) = &candidate.name else { continue };
            match taken.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(candidate.origin.clone());
                    if let Some(policy) = &mut candidate.policy {
                        policy.name.clone_from(name);
                    }
                }
                Entry::Occupied(first) => findings.push(duplicate(name, *at, first.get())),
            }
        }
    }
    for ReadFile { file, candidates, .. } in files {
        for candidate in candidates.iter_mut().filter(|candidate| candidate.name.is_none()) {
            let name = made_up(file, candidate.number, &taken);
            taken.insert(name.clone(), candidate.origin.clone());
            if let Some(policy) = &mut candidate.policy {
                policy.name = name;
            }
        }
    }
}

fn duplicate(name: &str, at: usize, first: &Origin) -> Finding {
    Finding {
        at: Some(at),
        policy: Some(name.to_owned()),
        key: Some("name".to_owned()),
        mistake: Mistake::new(
            format!("the policy at {first} has the same name"),
            "give each policy a name of its own",
        ),
        absence: false,
    }
}

fn made_up(file: &Path, number: usize, taken: &HashMap<String, Origin>) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut suffix = format!("-{number}");
    let mut further = 1;
    loop {
        let name = made_valid(&stem, MAX_CHARS - suffix.len()) + &suffix;
        if !taken.contains_key(&name) {
            return name;
        }
        further += 1;
        suffix = format!("-{number}-{further}");
    }
}
