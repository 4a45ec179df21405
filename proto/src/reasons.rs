//! Why a file is not in the index: every code that a watcher or an embedder gives, with its
//! words.
//!
//! This is the one list of them. The API, the page, the command line, `REASONS.md` and the
//! metrics' labels are made from it. A code is never renamed; a new one is added here first.

/// What would change that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The same bytes always fail the same way: only another content of the file helps, or other
    /// settings.
    Permanent,
    /// Something around the file was in the way, so that another try may pass.
    Transient,
    /// A rule says that the file is not meant to be indexed.
    Rule,
}

impl RetryPolicy {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Rule => "rule",
        }
    }
}

/// One reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The stable name: in messages, lists and metrics.
    pub code: &'static str,
    /// A few words, for headings.
    pub title: &'static str,
    /// What it means, in one sentence.
    pub sentence: &'static str,
    /// What can be done about it, for a person.
    pub remedy: &'static str,
    /// What would change it.
    pub retry_policy: RetryPolicy,
}

/// The reason with this code.
pub fn find_reason(code: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.code == code)
}

/// The code if it is listed, else `earlier`: what a message says must never make a new label.
pub fn metric_label(code: &str) -> &'static str {
    find_reason(code).map_or("other", |reason| reason.code)
}

const fn permanent_reason(
    code: &'static str,
    title: &'static str,
    sentence: &'static str,
    remedy: &'static str,
) -> Reason {
    Reason {
        code,
        title,
        sentence,
        remedy,
        retry_policy: RetryPolicy::Permanent,
    }
}

const fn transient_reason(
    code: &'static str,
    title: &'static str,
    sentence: &'static str,
    remedy: &'static str,
) -> Reason {
    Reason {
        retry_policy: RetryPolicy::Transient,
        ..permanent_reason(code, title, sentence, remedy)
    }
}

const fn rule_reason(
    code: &'static str,
    title: &'static str,
    sentence: &'static str,
    remedy: &'static str,
) -> Reason {
    Reason {
        retry_policy: RetryPolicy::Rule,
        ..permanent_reason(code, title, sentence, remedy)
    }
}

/// Every reason: first what is found in a file's bytes, then what stood in the way, then rules.
pub const REASONS: &[Reason] = &[
    permanent_reason(
        "empty",
        "Empty file",
        "The file has no bytes at all.",
        "Copy it again from where it came from, or delete it; it is tried again when it changes.",
    ),
    permanent_reason(
        "not_an_image",
        "Not an image",
        "It begins like no image format that is known, whatever its name says.",
        "If it should be a picture, copy it again from where it came from; otherwise give it \
         another ending, or have it left alone.",
    ),
    permanent_reason(
        "unsupported_format",
        "Unsupported format",
        "It is an image of a format that is not read (HEIC, AVIF, SVG, camera raw, …).",
        "Keep a JPEG or PNG of it beside it, or have it left alone.",
    ),
    permanent_reason(
        "unsupported_feature",
        "Unsupported feature",
        "Its format is read, but not with a feature that this file uses.",
        "Save it again with usual settings in any picture program, or have it left alone.",
    ),
    permanent_reason(
        "truncated",
        "Cut short",
        "The file ends before the picture does.",
        "Copy it again from where it came from; it is tried again by itself then.",
    ),
    permanent_reason(
        "corrupt",
        "Damaged",
        "Its bytes break the rules of its format.",
        "Copy it again from where it came from, or save it anew in a picture program.",
    ),
    permanent_reason(
        "too_large",
        "File too large",
        "The file has more bytes than are read.",
        "Raise watch.max_file_bytes and vision.max_file_bytes, or keep a smaller version of it.",
    ),
    permanent_reason(
        "too_many_pixels",
        "Too many pixels",
        "It claims more pixels, or a longer side, than the limits allow.",
        "If it is a real picture, raise vision.max_pixels or vision.max_side, then retry; a file \
         of a few kilobytes that claims so much is better left alone.",
    ),
    permanent_reason(
        "too_much_memory",
        "Takes too much memory",
        "Decoding it would take more memory than is allowed.",
        "Raise vision.max_decode_bytes, then retry; or save it in a plainer form.",
    ),
    permanent_reason(
        "decoder_panic",
        "Decoder came down",
        "It brought its decoder down; no other file was affected.",
        "Save it again in a picture program, or have it left alone.",
    ),
    permanent_reason(
        "poison",
        "Killed its worker",
        "An embedder died each time it decoded this file, so it is not touched any more.",
        "Find out whether embedders ran out of memory, then retry; otherwise save it again in a \
         picture program, or have it left alone.",
    ),
    transient_reason(
        "too_slow",
        "Took too long",
        "Reading or decoding it did not end within the time that is allowed.",
        "Retry when the machine and the mount are less busy, or raise vision.decode_timeout; or \
         save it in a plainer form, or have it left alone.",
    ),
    transient_reason(
        "unreadable",
        "Can't be read",
        "The system does not let the file be read: its rights, or its disk.",
        "Give the user that lookalike runs as the right to read it (chmod, chown), or look at the \
         disk; then retry.",
    ),
    transient_reason(
        "network_failed",
        "Network failed",
        "The model could not be run on it, several times.",
        "Look into the embedder's log for the device's complaint, then retry.",
    ),
    transient_reason(
        "not_finite",
        "Vector without meaning",
        "The model gave a vector that is not finite.",
        "Retry once; if it fails again, the model or its device is broken: tell its maker.",
    ),
    transient_reason(
        "index_refused",
        "Index refused it",
        "Milvus refused the row of this picture.",
        "Look at the detail and at Milvus' log, mend what it complains about, then retry.",
    ),
    rule_reason(
        "hidden",
        "Hidden",
        "Its name begins with a dot.",
        "Rename it without the dot to have it indexed.",
    ),
    rule_reason(
        "temporary",
        "Unfinished",
        "Its name is one that programs give to files they have not finished.",
        "Nothing: it is taken when its program renames it. Rename it if that is its real name.",
    ),
    rule_reason(
        "not_a_picture_name",
        "Not a picture by name",
        "Its name has no ending of a picture (.jpg, .png, …).",
        "Give it the ending of its format to have it indexed.",
    ),
    rule_reason(
        "unusable_name",
        "Unusable name",
        "Its path is not valid UTF-8, or longer than 4,096 bytes.",
        "Rename it, or move it to a shorter path.",
    ),
    rule_reason(
        "symbolic_link",
        "Symbolic link",
        "Symbolic links are not followed.",
        "Name the folder that it points to as a library of its own, or put the file itself here.",
    ),
    rule_reason(
        "not_a_file",
        "Not a file",
        "It is a socket, pipe or device.",
        "Nothing: there is no picture in it.",
    ),
    rule_reason(
        "ignore_file",
        "Named in an ignore file",
        "A line of a .lookalikeignore file excludes it.",
        "Change that file; what it does not exclude any more is indexed a moment later.",
    ),
    rule_reason(
        "discarded",
        "Discarded",
        "It had failed, and somebody said to leave it alone.",
        "It is tried again when it changes.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The list for people: `REASONS.md` at the top of the project.
    fn render_reasons_md() -> String {
        let mut text = "# Why a file is not in the index\n\n\
            Every file that can't be indexed, or is not meant to be, is listed with one of these \
            codes:\nby `lookalike failures` and `GET /v1/failures` (`--ignored` and `?ignored=true` for \
            those not meant to be);\nthe page shows those that failed. None delays another file, and \
            each is tried again by itself when it\nchanges. `lookalike why FILE` tells the whole life \
            of one.\n\n\
            - **permanent**: the same bytes always fail the same way; only another content of the \
            file helps, or\n  other settings.\n\
            - **transient**: something around the file was in the way, so that another try may \
            pass:\n  `lookalike failures retry`.\n\
            - **rule**: the file is not meant to be indexed.\n\n\
            | code | | what it means | what to do |\n| --- | --- | --- | --- |\n"
            .to_owned();
        for reason in REASONS {
            text += &format!(
                "| `{}` | {} | {} | {} |\n",
                reason.code,
                reason.retry_policy.name(),
                reason.sentence,
                reason.remedy
            );
        }
        text
    }

    #[test]
    fn reasons_md_lists_every_reason() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../REASONS.md");
        let expected = render_reasons_md();
        if std::env::var_os("UPDATE_REASONS").is_some() {
            std::fs::write(path, &expected).unwrap();
            return;
        }
        let current = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            current == expected,
            "REASONS.md is not what this list says; run\n    \
             UPDATE_REASONS=1 cargo test -p lookalike-proto the_paper\nand commit it"
        );
    }

    #[test]
    fn every_reason_has_its_texts() {
        for (position, reason) in REASONS.iter().enumerate() {
            let code = reason.code;
            let is_name = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(code.bytes().all(is_name) && code.len() <= 32, "{code}");
            assert!(
                REASONS[..position]
                    .iter()
                    .all(|earlier| earlier.code != code),
                "{code}"
            );
            assert!(
                !reason.title.is_empty() && !reason.title.ends_with('.'),
                "{code}"
            );
            for text in [reason.sentence, reason.remedy] {
                assert!(text.len() > 10 && text.ends_with('.'), "{code}: {text}");
                assert!(!text.contains("  "), "{code}: {text}");
            }
        }
        assert_eq!(metric_label("truncated"), "truncated");
        assert_eq!(metric_label("made up"), "other");
    }
}
