//! What to do about an error, as commands that can be pasted: with the root that is in use.

use catalog_core::{Collection, Hint};

use crate::text::{argument, option, shell_word as word};

/// The hint in words. `command` calls this command again for the same root.
pub(crate) fn words(hint: &Hint, command: &str) -> String {
    match hint {
        Hint::ListEntries => format!("`{command} list` shows what is here"),
        Hint::StageFile => format!("`{command} stage FILE` makes one"),
        Hint::GiveRoot => "give one with --root or CATALOG_ROOT, or set HOME".to_owned(),
        Hint::InitRoot => {
            "give an empty directory, or one that is not there yet; --init makes the catalog beside what is there"
                .to_owned()
        }
        Hint::Repair { id } => {
            format!(
                "`{command} repair {}` repairs it from its source or a good copy (--from), or stage it again",
                argument(id)
            )
        }
        Hint::MakeOwnView { id } => {
            format!(
                "`{command} repair {}` gives the entry a view of its own, or stage the file that is there",
                argument(id)
            )
        }
        Hint::Restage { id } => format!("`{command} stage FILE {}` brings it again", option("--id", id)),
        Hint::ReplaceDocument { has_other_name: true } => "--replace gives it the new name".to_owned(),
        Hint::ReplaceDocument { .. } => "--replace replaces it; --name gives the new one another name".to_owned(),
        Hint::Unpin { id } => {
            format!("`{command} unpin {}` takes its pins off, or use --force", argument(id))
        }
        Hint::VerifySignature { id, has_rule } => format!(
            "give one with `stage --signature`{}, or if the model is here, with `{command} verify-signature {}`",
            if *has_rule { "" } else { " and its signer with --key or --cert" },
            argument(id)
        ),
        Hint::GiveGoodCopy => "give a good copy with --from".to_owned(),
        Hint::Download { reference } => {
            format!("download the file, then `{command} stage FILE {}`", option("--id", reference))
        }
        Hint::UseCopyMode => "use --mode copy".to_owned(),
        Hint::FollowLinks => "--follow-links takes the files that such links lead to".to_owned(),
        Hint::GiveId => "give an id with --id".to_owned(),
        Hint::GoOnline => "stage it without --offline, HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE".to_owned(),
        Hint::NameDigest => "give its digest with --digest sha256:…".to_owned(),
        Hint::AllowNet { rule } => format!("to allow it, add --allow-net {}", word(rule)),
        Hint::RunDoctor => format!("`{command} doctor` says what can be restored"),
        Hint::MakeRoom => format!("make room, for example with `{command} remove`"),
        Hint::RaiseLimits { collection, has_quarantine } => {
            let quarantine =
                if *has_quarantine { format!("`{command} gc --quarantine-after 0`, ") } else { String::new() };
            let collection = collection.map_or_else(String::new, |collection| gc(&collection, command));
            format!("{quarantine}{collection}remove or unpin models, or raise the limits with `{command} config`")
        }
        Hint::UnsetLimit { name } => format!("`{command} config unset {name}` takes the limit away"),
        other => other.to_string(),
    }
}

/// The collection as a command.
fn gc(collection: &Collection, command: &str) -> String {
    let option = |name, bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| format!(" --{name} {bytes}"));
    let grace = if collection.without_grace { " --grace 0" } else { "" };
    let max_bytes = option("max-bytes", collection.max_bytes);
    format!("`{command} gc{grace}{max_bytes}{}`, ", option("min-free", collection.min_free_bytes))
}

/// Advice of the library that names commands, with the root that is in use.
pub(crate) fn with_root(advice: &str, command: &str) -> String {
    advice.replace("`catalog ", &format!("`{command} "))
}

#[cfg(test)]
mod tests {
    use catalog_core::testing::error_samples;

    use super::*;

    // Red when a command is printed without the root that is in use: what is pasted then works on another catalog.
    #[test]
    fn every_command_can_be_pasted() {
        let command = "catalog --root '/my models'";
        let hints: Vec<String> = error_samples().iter().filter_map(|e| Some(words(&e.hint()?, command))).collect();
        assert!(hints.iter().any(|hint| hint.contains(command)));
        for hint in hints {
            assert_eq!(hint.matches("`catalog ").count(), hint.matches(&format!("`{command} ")).count(), "{hint}");
        }
        let id = || "it's here".to_owned();
        for hint in [Hint::Repair { id: id() }, Hint::Restage { id: id() }, Hint::MakeOwnView { id: id() }] {
            assert!(words(&hint, command).contains(r"'it'\''s here'`"), "{hint:?}");
        }
        assert_eq!(with_root("`catalog gc` takes it", command), "`catalog --root '/my models' gc` takes it");
    }
}
