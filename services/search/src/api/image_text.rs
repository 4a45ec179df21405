//! Images in a JSON string: base64 as browsers, mail programs and command lines write it, or a
//! `data:` URL.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;

use crate::problem::Problem;

/// Like the "forgiving-base64 decode" of browsers (<https://infra.spec.whatwg.org/#forgiving-base64>).
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64 in the standard or the URL-safe alphabet, with or without padding and line breaks,
/// or a `data:` URL, whose data may be percent-encoded.
pub(crate) fn decode_image_text(param: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let text = text.trim();
    let url = text.split_once(':');
    match url.map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest)) {
        Some((scheme, url)) if scheme == "data" => decode_data_url(param, url),
        Some((scheme, _)) if ["http", "https", "file", "blob"].contains(&&scheme[..]) => {
            Err(Problem::invalid_parameter(
                param,
                format!(
                    "{param} is a {scheme}: address, and lookalike fetches none: send the file \
                     itself in base64, or as the body of POST /v1/search/image"
                ),
            ))
        }
        _ => decode_base64(param, text.as_bytes()),
    }
}

/// Decodes what follows `data:` (RFC 2397): a content type, `;base64` or nothing, a comma, the data.
fn decode_data_url(param: &str, url: &str) -> Result<Vec<u8>, Problem> {
    let Some((media_type, data)) = url.split_once(',') else {
        return Err(Problem::invalid_parameter(
            param,
            format!("{param} is a data: URL without a comma, so it has no data"),
        ));
    };
    let data: Vec<u8> = percent_decode_str(data).collect();
    let encoding = media_type.rsplit(';').next().unwrap_or_default();
    match encoding.trim().eq_ignore_ascii_case("base64") {
        true => decode_base64(param, &data),
        false => Ok(data),
    }
}

fn decode_base64(param: &str, text: &[u8]) -> Result<Vec<u8>, Problem> {
    let characters = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let standard: Vec<u8> = characters
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => *byte,
        })
        .collect();
    FORGIVING.decode(&standard).map_err(|error| {
        use base64::DecodeError;
        let reason = match error {
            DecodeError::InvalidByte(at, b'=') => {
                format!("padding within the data, after {at} characters")
            }
            DecodeError::InvalidByte(at, byte) => {
                let shown = char::from(byte);
                format!("{shown:?} after {at} characters")
            }
            DecodeError::InvalidLength(length) => {
                format!("a single character is left at the end of {length}")
            }
            error => error.to_string(),
        };
        Problem::invalid_parameter(param, format!("{param} is not base64: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_kind() {
        for text in [
            "+/8=",
            "+/8",
            "-_8",
            "-_8=",
            "-/8=",
            // Bits beyond the last byte.
            "+/9=",
            " +/8= ",
            "+/\r\n8=\r\n",
            "\t+ / 8 =\n",
            "data:image/jpeg;base64,+/8=",
            "data:image/jpeg;base64,%2B%2F8%3D",
            "data:;base64,-_8",
            "data:image/png;charset=utf-8;base64,+/8",
            "DATA:IMAGE/JPEG;BASE64,+/8=",
            "Data:image/jpeg; base64 ,+/\n8=",
            "data:image/jpeg,%fb%FF",
        ] {
            let decoded = decode_image_text("image", text);
            assert_eq!(decoded.unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(decode_image_text("image", "").unwrap().is_empty());
        assert_eq!(
            decode_image_text("image", "data:text/plain,hello").unwrap(),
            b"hello"
        );
    }

    #[test]
    fn everything_else_is_refused_in_words() {
        for (text, words) in [
            ("!", "'!' after 0 characters"),
            ("+/8=+/8=", "padding within the data"),
            ("+/8=x", "padding"),
            ("AAAAA", "a single character is left"),
            ("caf\u{e9}", "is not base64"),
            ("data:image/jpeg;base64", "without a comma"),
            ("data:image/jpeg;base64,%21", "'!' after 0 characters"),
            ("https://example.org/a.jpg", "fetches none"),
            ("FILE:///a.jpg", "fetches none"),
        ] {
            let problem = decode_image_text("positive[0].image", text).unwrap_err();
            assert_eq!(
                problem.param.as_deref(),
                Some("positive[0].image"),
                "{text}"
            );
            assert!(problem.detail.contains(words), "{text}: {}", problem.detail);
            assert!(problem.detail.len() < 200, "{}", problem.detail);
        }
    }

    #[test]
    fn line_breaks_of_every_width_give_the_same_bytes() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let text = FORGIVING.encode(&bytes);
        for width in [1, 60, 64, 76, 1000] {
            for line_break in ["\n", "\r\n", "\r", " "] {
                let lines: Vec<&str> = (0..text.len())
                    .step_by(width)
                    .map(|start| &text[start..(start + width).min(text.len())])
                    .collect();
                let wrapped = lines.join(line_break);
                assert!(decode_image_text("image", &wrapped).unwrap() == bytes);
            }
        }
    }
}
