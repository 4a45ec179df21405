//! The headers of one part of a form, as all kinds of clients write them.
//!
//! multer reads only names in UTF-8 and ignores `filename*`, so whether a part is a file is decided
//! here, from the bytes of its headers.

use percent_encoding::percent_decode;
use poem::http::{HeaderMap, header};

/// Names of the field for the image.
const FILE_FIELDS: [&str; 2] = ["image", "file"];

/// What the headers of a part say about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartDescription {
    /// The name of the field; empty if it has none.
    pub name: String,
    pub is_file: bool,
    /// The name that the client gives its file.
    pub file_name: Option<String>,
}

impl PartDescription {
    /// A part is a file if it has a file name, the name of the field for the image, or the content
    /// type of an image or of any bytes.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let disposition = headers.get(header::CONTENT_DISPOSITION);
        let parameters = disposition.map(|value| parse_parameters(value.as_bytes()));
        let (mut name, mut file_name, mut has_encoded_name) = (String::new(), None, false);
        for (parameter, value) in parameters.into_iter().flatten() {
            match &parameter[..] {
                "name" => name = String::from_utf8_lossy(&value).into_owned(),
                "filename*" => {
                    has_encoded_name = true;
                    file_name = decode_extended_value(&value).or(file_name);
                }
                // The encoded name takes precedence.
                "filename" if has_encoded_name && file_name.is_some() => {}
                "filename" => file_name = Some(String::from_utf8_lossy(&value).into_owned()),
                _ => {}
            }
        }
        let content_type = headers.get(header::CONTENT_TYPE);
        let has_file_type = content_type.is_some_and(|value| {
            let media_type = value.as_bytes().to_ascii_lowercase();
            media_type.starts_with(b"image/") || media_type.starts_with(b"application/octet-stream")
        });
        let has_file_name = has_encoded_name || file_name.is_some();
        let is_file = has_file_name || has_file_type || FILE_FIELDS.contains(&&name[..]);
        Self {
            name,
            is_file,
            file_name,
        }
    }
}

/// Decodes `UTF-8''%e2%82%ac.jpg` (RFC 8187). Other character sets are not used any more.
fn decode_extended_value(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?;
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let text = percent_decode(encoded.as_bytes()).decode_utf8().ok()?;
    charset
        .eq_ignore_ascii_case("utf-8")
        .then(|| text.into_owned())
}

/// Parses `form-data; name="a"; filename=b.jpg` into its parameters, with names in lower case.
fn parse_parameters(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    split_outside_quotes(header)
        .into_iter()
        .skip(1)
        .filter_map(|parameter| {
            let equals = parameter.iter().position(|byte| *byte == b'=')?;
            let name = String::from_utf8_lossy(parameter[..equals].trim_ascii());
            let value = remove_quotes(parameter[equals + 1..].trim_ascii());
            Some((name.to_ascii_lowercase(), value))
        })
        .collect()
}

/// Splits at each `;` that is not within double quotes.
fn split_outside_quotes(header: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in header.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b';' if !is_quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts
}

fn remove_quotes(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let quoted = quoted.strip_suffix(b"\"").unwrap_or(quoted);
    let mut unquoted = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            byte => byte,
        };
        unquoted.push(*byte);
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    fn describe_part(disposition: &[u8], content_type: &str) -> (String, bool) {
        let mut headers = HeaderMap::new();
        if !disposition.is_empty() {
            let value = HeaderValue::from_bytes(disposition).unwrap();
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let part = PartDescription::from_headers(&headers);
        (part.name, part.is_file)
    }

    #[test]
    fn files_are_recognised_by_any_of_their_headers() {
        for (disposition, content_type, name) in [
            (&b"form-data; name=\"image\""[..], "", "image"),
            (b"form-data; name=file", "", "file"),
            (b"form-data; name=\"x\"; filename=\"a.jpg\"", "", "x"),
            (
                b"form-data; name=\"x\"; filename*=UTF-8''%e2%82%ac.jpg",
                "",
                "x",
            ),
            (b"form-data; NAME=x; FileName=a.jpg", "", "x"),
            (b"form-data; filename=\"caf\xe9.jpg\"; name=\"x\"", "", "x"),
            (b"form-data; name=\"x\"; filename=\"a;b\\\".jpg\"", "", "x"),
            (b"form-data; name=\"x\"; filename=\"\"", "", "x"),
            (b"form-data; name=\"x\"", "image/jpeg", "x"),
            (b"form-data; name=\"x\"", "Image/PNG; q=1", "x"),
            (b"form-data", "application/octet-stream", ""),
            (b"", "image/webp", ""),
        ] {
            let shown = String::from_utf8_lossy(disposition).into_owned();
            let described = describe_part(disposition, content_type);
            assert_eq!(described, (name.to_owned(), true), "{shown} {content_type}");
        }
    }

    #[test]
    fn files_have_the_name_that_clients_give_them() {
        for (disposition, expected) in [
            (
                "form-data; name=\"image\"; filename=\"a;b.jpg\"",
                Some("a;b.jpg"),
            ),
            (
                "form-data; filename*=UTF-8''%e2%82%ac.jpg; filename=\"EUR.jpg\"",
                Some("\u{20ac}.jpg"),
            ),
            (
                "form-data; filename=\"EUR.jpg\"; filename*=utf-8'en'%e2%82%ac.jpg",
                Some("\u{20ac}.jpg"),
            ),
            (
                "form-data; filename=\"a.jpg\"; filename*=latin1''%e4.jpg",
                Some("a.jpg"),
            ),
            ("form-data; filename*=broken", None),
            ("form-data; name=\"image\"", None),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_static(disposition);
            headers.insert(header::CONTENT_DISPOSITION, value);
            let part = PartDescription::from_headers(&headers);
            assert_eq!(part.file_name.as_deref(), expected, "{disposition}");
            assert!(part.is_file, "{disposition}");
        }
    }

    #[test]
    fn other_fields_are_no_files() {
        for (disposition, content_type, name) in [
            (&b"form-data; name=\"limit\""[..], "", "limit"),
            (b"form-data; name=\"limit\"", "text/plain", "limit"),
            (b"form-data; name=\"filename\"", "", "filename"),
            (b"form-data; name=\"a; filename=b\"", "", "a; filename=b"),
            (
                b"form-data; name=\"gr\xf6\xdfe\"",
                "",
                "gr\u{fffd}\u{fffd}e",
            ),
            (b"form-data; name=\"a\\\"b\"", "", "a\"b"),
            (b"form-data; name=\"open", "", "open"),
            (b"form-data", "", ""),
            (b"", "", ""),
        ] {
            let shown = String::from_utf8_lossy(disposition).into_owned();
            let described = describe_part(disposition, content_type);
            assert_eq!(described, (name.to_owned(), false), "{shown}");
        }
    }
}
