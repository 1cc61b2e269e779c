//! How each shell asks, where clap's own scripts are not enough: for words that a shell quotes or splits at a colon,
//! and for file names, which the shell completes better.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::engine;
use clap_complete::env::{self, EnvCompleter};

use super::candidates::remember;
use super::line::{Line, word};
use crate::text::shell_word;

/// bash also splits words at `:` and `=`, passes them as typed, and inserts a candidate without quoting it. So the
/// script sends the line up to the cursor, and gets candidates that fit into it.
pub(super) struct Bash;

const BASH: &str = r#"_catalog() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <(VARIABLE=bash COMPLETER -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -o default -o nosort -F _catalog catalog 2>/dev/null ||
    complete -o bashdefault -o default -F _catalog catalog
"#;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(&self, var: &str, _: &str, _: &str, completer: &str, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(filled_in(BASH, var, completer).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        arguments: Vec<OsString>,
        directory: Option<&Path>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
        let line = Line::read(&arguments.next().unwrap_or_default());
        let part = arguments.next().unwrap_or_default();
        let words: Vec<OsString> = line.words.iter().map(OsString::from).collect();
        remember(&words);
        let last = words.len().saturating_sub(1);
        for candidate in engine::complete(command, words, last, directory)? {
            if let Some(text) = line.insertion(&candidate.get_value().to_string_lossy(), &part) {
                writeln!(to, "{text}")?;
            }
        }
        Ok(())
    }
}

/// zsh passes words as typed, and quotes what it inserts. If there is no candidate, it completes file names.
pub(super) struct Zsh;

const ZSH: &str = r#"#compdef catalog
_catalog() {
    local line
    local -a candidates folders others
    candidates=("${(@f)$(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((CURRENT - 1)) VARIABLE=zsh COMPLETER -- "${words[@]}" 2>/dev/null)}")
    for line in $candidates; do
        if [[ "$line" == */ ]]; then
            folders+=("${line%/}")
        else
            others+=("$line")
        fi
    done
    (( $#folders )) && _describe -V 'values' folders -S / -r /
    (( $#others )) && _describe -V 'values' others
    (( compstate[nmatches] )) || _files
}
if [[ "$funcstack[1]" == _catalog ]]; then
    _catalog "$@"
else
    compdef _catalog catalog
fi
"#;

impl EnvCompleter for Zsh {
    fn name(&self) -> &'static str {
        "zsh"
    }

    fn is(&self, name: &str) -> bool {
        name == "zsh"
    }

    fn write_registration(&self, var: &str, _: &str, _: &str, completer: &str, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(filled_in(ZSH, var, completer).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        arguments: Vec<OsString>,
        directory: Option<&Path>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let words: Vec<OsString> = arguments.iter().map(|raw| word(&raw.to_string_lossy()).into()).collect();
        remember(&words);
        env::Zsh.write_complete(command, words, directory, to)
    }
}

/// The script, filled in so that it calls `completer` with the variable set.
fn filled_in(script: &str, variable: &str, completer: &str) -> String {
    script.replace("VARIABLE", variable).replace("COMPLETER", &shell_word(completer))
}

/// fish passes the last word as typed, and the others as the command would get them.
pub(super) struct Unquoting<S>(pub(super) S);

impl<S: EnvCompleter> EnvCompleter for Unquoting<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is(&self, name: &str) -> bool {
        self.0.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        self.0.write_registration(var, name, bin, completer, to)
    }

    fn write_complete(
        &self,
        command: &mut Command,
        mut words: Vec<OsString>,
        directory: Option<&Path>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        if let Some(last) = words.last_mut() {
            *last = word(&last.to_string_lossy()).into();
        }
        remember(&words);
        self.0.write_complete(command, words, directory, to)
    }
}
