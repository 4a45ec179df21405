//! Attributes from a file next to a picture: an XMP packet (`photo.jpg.xmp`, `photo.xmp`), as programs
//! for raw files write it, or JSON (`photo.jpg.json`, `photo.json`).
//!
//! The JSON is an object with any of these fields; others are skipped:
//!
//! | field | value |
//! |---|---|
//! | `tags`, `keywords` | a list of texts, or one text |
//! | `taken_at` | a time as metadata states it, such as `2021-06-05T04:03:02+02:00` |
//! | `camera` | maker and model |
//! | `photoTakenTime.timestamp` | seconds since 1970, as exports of Google Photos have it |

use serde_json::Value;

use super::date::StatedTime;
use super::fields::MetadataFields;
use super::text::clean_text;
use super::{MAX_TAGS, join_camera_name, join_keywords, xmp};

/// What files next to a picture state about it. What they do not state is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SidecarAttributes {
    /// In seconds since 1970, UTC.
    pub taken_at: Option<i64>,
    pub camera: Option<String>,
    /// At most 64.
    pub tags: Vec<String>,
}

impl SidecarAttributes {
    /// Reads a file with an XMP packet. What cannot be read is left out.
    pub fn read_xmp(bytes: &[u8]) -> Self {
        let fields = xmp::read_xmp(bytes);
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        Self {
            taken_at: fields.original.or(fields.digitized),
            camera: join_camera_name(&name(&fields.make), &name(&fields.model)),
            tags: join_keywords(&[fields]),
        }
    }

    /// Reads a file in JSON. What cannot be read is left out.
    pub fn read_json(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(text) else {
            return Self::default();
        };
        let text_of = |name: &str| fields.get(name).and_then(Value::as_str);
        let stated_time = || {
            let text = text_of("taken_at")?;
            StatedTime::parse(text.as_bytes())?.unix_seconds()
        };
        let export_time = || {
            let timestamp = fields.get("photoTakenTime")?.get("timestamp")?;
            let text = timestamp.as_str().map(str::trim);
            timestamp.as_i64().or_else(|| text?.parse().ok())
        };
        let keywords = ["tags", "keywords"]
            .into_iter()
            .filter_map(|name| fields.get(name))
            .flat_map(|value| match value {
                Value::Array(entries) => entries.as_slice(),
                value => std::slice::from_ref(value),
            });
        let keywords = keywords.filter_map(Value::as_str).map(clean_text);
        Self {
            taken_at: stated_time().or_else(export_time),
            camera: text_of("camera")
                .map(clean_text)
                .filter(|camera| !camera.is_empty()),
            tags: join_keywords(&[MetadataFields {
                keywords: keywords.collect(),
                ..MetadataFields::default()
            }]),
        }
    }

    /// Adds what another file states; what this one states counts.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for tag in other.tags {
            if self.tags.len() < MAX_TAGS && !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        Self {
            taken_at: self.taken_at.or(other.taken_at),
            camera: self.camera.or(other.camera),
            tags: self.tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(taken_at: Option<i64>, camera: Option<&str>, tags: &[&str]) -> SidecarAttributes {
        SidecarAttributes {
            taken_at,
            camera: camera.map(str::to_owned),
            tags: tags.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn json_is_read_as_far_as_it_is_understood() {
        for (json, expected) in [
            (
                r#"{"tags": ["beach", " sea ", "", "beach", 7], "keywords": "sun"}"#,
                attributes(None, None, &["beach", "sea", "sun"]),
            ),
            (
                r#"{"taken_at": "1970-01-02T00:00:00+01:00", "camera": " Canon EOS R5"}"#,
                attributes(Some(82_800), Some("Canon EOS R5"), &[]),
            ),
            (
                r#"{"title": "a.jpg", "photoTakenTime": {"timestamp": "1500000000"}}"#,
                attributes(Some(1_500_000_000), None, &[]),
            ),
            (
                "\u{feff}{\"photoTakenTime\": {\"timestamp\": -5}, \"taken_at\": \"soon\"}",
                attributes(Some(-5), None, &[]),
            ),
            (
                r#"{"tags": {"a": 1}, "camera": 5}"#,
                attributes(None, None, &[]),
            ),
            (r#"["tags"]"#, attributes(None, None, &[])),
            (r#"{"tags": ["cut"#, attributes(None, None, &[])),
            ("", attributes(None, None, &[])),
        ] {
            let read = SidecarAttributes::read_json(json.as_bytes());
            assert_eq!(read, expected, "{json}");
        }
        let many: Vec<String> = (0..100).map(|n| format!("tag {n}")).collect();
        let json = serde_json::json!({ "tags": many }).to_string();
        assert_eq!(SidecarAttributes::read_json(json.as_bytes()).tags.len(), 64);
        let nested = "[".repeat(10_000);
        assert_eq!(
            SidecarAttributes::read_json(nested.as_bytes()),
            SidecarAttributes::default()
        );
    }

    #[test]
    fn xmp_is_read_like_the_packet_of_a_picture() {
        let packet = r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
            xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
            xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
            exif:DateTimeOriginal="1970-01-01T00:01:00Z"><dc:subject><rdf:Bag><rdf:li>beach</rdf:li>
            <rdf:li>sea &amp; sun</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>
            </x:xmpmeta>"#;
        assert_eq!(
            SidecarAttributes::read_xmp(packet.as_bytes()),
            attributes(Some(60), None, &["beach", "sea & sun"])
        );
        assert_eq!(
            SidecarAttributes::read_xmp(b"\0\xff"),
            SidecarAttributes::default()
        );
    }

    #[test]
    fn the_first_file_counts_and_tags_are_joined() {
        let first = attributes(Some(1), None, &["a", "b"]);
        let second = attributes(Some(2), Some("Canon"), &["b", "c"]);
        assert_eq!(
            first.or(second),
            attributes(Some(1), Some("Canon"), &["a", "b", "c"])
        );
    }
}
