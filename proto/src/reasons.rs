//! The reasons why a file is not in the index: every code that a watcher or an embedder reports, with
//! its texts.
//!
//! This list is the only source for the API, the page, the command line, `REASONS.md` and the metric
//! labels. A code is never renamed; a new one is added here first.

/// Whether a retry can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The same bytes always fail the same way: only other content or other settings help.
    Permanent,
    /// Something outside the file prevented the work, so a retry may succeed.
    Transient,
    /// A rule excludes the file from the index.
    Rule,
}

impl RetryPolicy {
    /// Returns the name used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Rule => "rule",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The stable name in messages, lists and metrics.
    pub code: &'static str,
    /// A few words, for headings.
    pub title: &'static str,
    /// The meaning, in one sentence.
    pub sentence: &'static str,
    /// What the user can do about it.
    pub remedy: &'static str,
    pub retry_policy: RetryPolicy,
}

pub fn find_reason(code: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.code == code)
}

/// Returns the code if it is listed, else `other`, so that no message can create a new label value.
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

/// Every reason: first those in a file's bytes, then obstacles outside the file, then rules.
pub const REASONS: &[Reason] = &[
    permanent_reason(
        "empty",
        "Empty file",
        "The file is empty.",
        "Copy it again from its source, or delete it; it is retried when it changes.",
    ),
    permanent_reason(
        "not_an_image",
        "Not an image",
        "The file's content matches no known image format, although its name does.",
        "If it should be a picture, copy it again from its source; otherwise change its extension, \
         or discard the failure.",
    ),
    permanent_reason(
        "unsupported_format",
        "Unsupported format",
        "The image format is not supported (SVG, JPEG 2000, AVIF unless it was built in, a camera raw file without a large preview, …).",
        "Store a JPEG or PNG copy next to it, or discard the failure.",
    ),
    permanent_reason(
        "unsupported_feature",
        "Unsupported feature",
        "The format is supported, but this file uses an unsupported feature.",
        "Save it again with standard settings in any image editor, or discard the failure.",
    ),
    permanent_reason(
        "truncated",
        "Cut short",
        "The file ends before its picture does, or its end was never written.",
        "Copy it again from its source; it is then retried automatically.",
    ),
    permanent_reason(
        "corrupt",
        "Damaged",
        "The file's content violates its format.",
        "Copy it again from its source, or save it again in an image editor.",
    ),
    permanent_reason(
        "too_large",
        "File too large",
        "The file is larger than the size limit.",
        "Raise watch.max_file_bytes and vision.max_file_bytes, or store a smaller version.",
    ),
    permanent_reason(
        "too_many_pixels",
        "Too many pixels",
        "The image declares more pixels, or a longer side, than the limits allow.",
        "If it is a real picture, set the limits that the detail names to the values that it names, then \
         retry. A file of a few kilobytes that declares so many pixels is probably an attack: discard the \
         failure.",
    ),
    permanent_reason(
        "too_much_memory",
        "Needs too much memory",
        "Decoding the file would need more memory than the limit allows.",
        "Raise vision.max_decode_bytes to the value that the detail names, then retry; or save a version \
         with fewer pixels.",
    ),
    permanent_reason(
        "decoder_panic",
        "Decoder crashed",
        "The decoder crashed on this file; no other file was affected.",
        "Save it again in an image editor, or discard the failure.",
    ),
    permanent_reason(
        "poison",
        "Killed its worker",
        "The embedder crashed repeatedly while it decoded this file, so lookalike no longer tries it.",
        "If the embedder ran out of memory, give it more memory, then retry; otherwise save it again in \
         an image editor, or discard the failure.",
    ),
    transient_reason(
        "too_slow",
        "Took too long",
        "Reading or decoding the file exceeded the time limit.",
        "Retry when the machine and the mount are less busy. If it fails again, raise vision.decode_timeout, \
         save a version with fewer pixels, or discard the failure.",
    ),
    transient_reason(
        "unreadable",
        "Unreadable",
        "The operating system cannot read the file, because of its permissions or its disk.",
        "Allow the user that runs lookalike to read it, and to list and enter its folder (chmod, \
         chown), or check the disk; then retry.",
    ),
    transient_reason(
        "network_failed",
        "Model failed",
        "The model failed on this image several times.",
        "Look in the embedder's log for the error of the CPU or GPU, fix the cause, then retry.",
    ),
    transient_reason(
        "not_finite",
        "Invalid vector",
        "The model returned a vector that contains infinite or undefined numbers.",
        "Retry once; if it fails again, the model or its device is broken: use another model, or report \
         it to the maintainer of the model.",
    ),
    transient_reason(
        "index_refused",
        "Rejected by the index",
        "Milvus rejected the row of this image.",
        "Read the detail (`lookalike failures show`) and Milvus' log, fix the problem, then retry.",
    ),
    rule_reason(
        "hidden",
        "Hidden",
        "The file's name starts with a dot.",
        "To index it, rename it without the dot.",
    ),
    rule_reason(
        "system_folder",
        "In a system folder",
        "It is in a folder that systems and storage devices make for themselves (#recycle, @eaDir, …).",
        "To index it, move it to another folder, or set watch.enter_system_folders = true.",
    ),
    rule_reason(
        "temporary",
        "Temporary",
        "The file's name looks like that of an unfinished file (.part, .tmp, …).",
        "You need to do nothing: it is indexed when the program that writes it renames it. If it is a \
         finished picture, rename it.",
    ),
    rule_reason(
        "not_a_picture_name",
        "No picture extension",
        "The file's name has no extension of an image format (.jpg, .png, …).",
        "To index it, add the extension of its format.",
    ),
    rule_reason(
        "unusable_name",
        "Unusable name",
        "The file's path is not valid UTF-8, or longer than 4,096 bytes.",
        "Rename it, or move it to a shorter path.",
    ),
    rule_reason(
        "symbolic_link",
        "Symbolic link",
        "Symbolic links are not followed.",
        "Move the file itself into the library, or add the folder that contains it as a library.",
    ),
    rule_reason(
        "not_a_file",
        "Not a file",
        "This is a socket, pipe or device.",
        "You need to do nothing: it contains no picture.",
    ),
    rule_reason(
        "ignore_file",
        "Excluded by an ignore file",
        "A line of a .lookalikeignore file excludes it.",
        "Change the .lookalikeignore file; files that it no longer excludes are then indexed.",
    ),
    rule_reason(
        "discarded",
        "Discarded",
        "The file had failed, and a user discarded the failure.",
        "You need to do nothing: it is retried when it changes. To retry it now, use `lookalike failures \
         retry`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders `REASONS.md`, the list for people.
    fn render_reasons_md() -> String {
        let mut text = "# Why a file is not in the index\n\n\
            lookalike lists every file that is not in the index, with one of these codes. A file has \
            *failed* if it\nshould be indexed and cannot be; it is *ignored* if a rule excludes it. Files \
            above `watch.max_file_bytes`\n(`too_large`) are the exception: their kind is permanent, but they count as ignored.\n`lookalike failures`, the page \
            and `GET /v1/failures` list the failed files; with\n`--ignored` or `?ignored=true`, the \
            command and the API also list the ignored ones. `lookalike why FILE` shows\nthe history of \
            one file.\n\n\
            A failed file delays no other file. lookalike retries it when it changes, and when you run \
            `lookalike failures\nretry`. If it may stay out of the index, run `lookalike failures \
            discard`: the file then counts as ignored until it\nchanges. Neither command changes the file \
            itself.\n\n\
            The column *kind* says why, and whether a retry can help:\n\n\
            - **permanent**: the same bytes always fail in the same way; only other content or other \
            settings help.\n\
            - **transient**: something outside the file was the cause, so a retry may succeed.\n\
            - **rule**: a rule excludes the file from the index.\n\n\
            The *embedder*, a part of `lookalike up`, reads each picture, decodes it, computes its \
            vector with the *model* (a\nneural network), and writes a row to the index in Milvus.\n\n\
            | code | kind | meaning | remedy |\n| --- | --- | --- | --- |\n"
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
            "REASONS.md is out of date; run\n    \
             UPDATE_REASONS=1 cargo test --workspace reasons_md\nand commit it"
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
